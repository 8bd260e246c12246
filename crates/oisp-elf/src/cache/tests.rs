use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;
use crate::analyze;

const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/libssl.so.3",
    "/usr/lib/aarch64-linux-gnu/libssl.so.3",
    "/usr/lib64/libssl.so.3",
];

struct Fixture {
    home: tempfile::TempDir,
    cache: AnalysisCache,
    library: PathBuf,
}

impl Fixture {
    /// A cache, and a copy of a library with a build id.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let cache = AnalysisCache::open(&home.path().join("cache"), CacheLimits::default()).unwrap();
        let original = LIBRARIES.iter().map(Path::new).find(|path| path.exists());
        let original = original.unwrap_or_else(|| panic!("libssl is needed: apt-get install libssl3"));
        let library = home.path().join("libssl.so.3");
        fs::copy(original, &library).unwrap();
        Self { home, cache, library }
    }

    fn look(&self, path: &Path) -> Looked {
        self.cache.analyze(&File::open(path).unwrap()).unwrap()
    }

    fn entries(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.path().join("cache")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Changes a byte of the library in place.
    fn flip(&self, offset: u64) {
        let mut bytes = fs::read(&self.library).unwrap();
        bytes[usize::try_from(offset).unwrap()] ^= 0x55;
        fs::write(&self.library, bytes).unwrap();
    }
}

#[test]
fn a_file_is_analysed_once_and_its_copies_are_known_by_their_build_id() {
    let fixture = Fixture::new();
    let first = fixture.look(&fixture.library);
    assert!(!first.cached && first.trouble.is_empty(), "{first:?}");
    assert_eq!(first.analysis, analyze(&fixture.library).unwrap());
    let copy = fixture.home.path().join("copy");
    fs::copy(&fixture.library, &copy).unwrap();
    for path in [&fixture.library, &copy] {
        let again = fixture.look(path);
        assert!(again.cached && again.trouble.is_empty(), "{again:?}");
        assert_eq!(again.analysis, first.analysis);
    }
    let entries = fixture.entries();
    assert_eq!(entries.len(), 1);
    assert_eq!(fs::metadata(&entries[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(entries[0].parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_file_whose_code_changed_around_any_function_is_analysed_anew() {
    let fixture = Fixture::new();
    let sites = fixture.look(&fixture.library).analysis.stacks.remove(0).functions;
    for site in sites {
        fixture.flip(site.file_offset + 3);
        assert!(!fixture.look(&fixture.library).cached, "{}", site.function.name());
        assert!(fixture.look(&fixture.library).cached, "{}", site.function.name());
    }
}

#[test]
fn a_program_that_carries_anothers_build_id_is_analysed_by_itself() {
    let fixture = Fixture::new();
    assert!(!fixture.look(&fixture.library).cached);
    // As a script is put behind a runtime.
    let mut bytes = fs::read(&fixture.library).unwrap();
    bytes.extend_from_slice(b"console.log('hello')");
    let compiled = fixture.home.path().join("compiled");
    fs::write(&compiled, bytes).unwrap();
    assert!(!fixture.look(&compiled).cached);
    assert!(fixture.look(&compiled).cached);
    assert!(fixture.look(&fixture.library).cached);
}

#[test]
fn a_file_without_tls_is_remembered_by_its_identity() {
    let fixture = Fixture::new();
    let file = Path::new("/bin/true");
    let first = fixture.look(file);
    assert!(!first.cached && first.analysis.stacks.is_empty());
    assert!(fixture.look(file).cached);
    let copy = fixture.home.path().join("true");
    fs::copy(file, &copy).unwrap();
    assert!(!fixture.look(&copy).cached, "another file, whatever its build id");
}

#[test]
fn a_file_that_may_still_change_within_a_tick_has_not_settled() {
    let fixture = Fixture::new();
    let metadata = fs::metadata(&fixture.library).unwrap();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.ctime().unsigned_abs());
    assert!(!has_settled(&metadata, changed));
    assert!(!has_settled(&metadata, changed - Duration::from_secs(60)), "the clock was set back");
    assert!(has_settled(&metadata, changed + SETTLED + Duration::from_secs(1)));
}

#[test]
fn an_entry_with_places_outside_of_code_is_not_used() {
    let fixture = Fixture::new();
    let analysis = fixture.look(&fixture.library).analysis;
    let image = Image::open(&fixture.library).unwrap();
    let parsed = Parsed::parse(image.bytes()).unwrap();
    for (address, file_offset) in
        [(0, 0), (u64::MAX, u64::MAX), (analysis.stacks[0].functions[0].address, 64)]
    {
        let mut wrong = analysis.clone();
        wrong.stacks[0].functions[0].entry.address = address;
        wrong.stacks[0].functions[0].entry.file_offset = file_offset;
        assert!(Entry::of(&wrong, &parsed, image.bytes()).is_none());
        let mut entry = Entry::of(&analysis, &parsed, image.bytes()).unwrap();
        entry.replace_analysis(wrong);
        assert_eq!(entry.verified(&parsed, image.bytes(), false), None);
    }
}

#[test]
fn a_damaged_entry_is_said_to_be_and_replaced() {
    let fixture = Fixture::new();
    let first = fixture.look(&fixture.library).analysis;
    let entry = fixture.entries().remove(0);
    let mut bytes = fs::read(&entry).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    fs::write(&entry, bytes).unwrap();
    let looked = fixture.look(&fixture.library);
    assert!(!looked.cached);
    assert_eq!(looked.analysis, first);
    let [CacheError::Damaged { .. }] = &looked.trouble[..] else { panic!("{:?}", looked.trouble) };
    assert!(fixture.look(&fixture.library).cached, "it was replaced");
}

#[test]
fn an_entry_that_is_a_link_or_a_folder_is_not_read() {
    let fixture = Fixture::new();
    fixture.look(&fixture.library);
    let entry = fixture.entries().remove(0);
    let elsewhere = fixture.home.path().join("elsewhere");
    fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    let looked = fixture.look(&fixture.library);
    assert!(!looked.cached && !looked.trouble.is_empty(), "{looked:?}");
    assert!(fixture.look(&fixture.library).cached, "the link was replaced");
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    let looked = fixture.look(&fixture.library);
    assert!(!looked.cached && looked.trouble.len() == 2, "neither read nor replaced: {looked:?}");
}

#[test]
fn a_folder_that_others_may_enter_or_that_is_a_link_is_not_used() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("cache");
    let open = |folder: &Path| AnalysisCache::open(folder, CacheLimits::default());
    open(&folder).unwrap();
    let link = home.path().join("link");
    symlink(&folder, &link).unwrap();
    assert!(matches!(open(&link), Err(CacheError::Untrusted { .. })));
    for mode in [0o750, 0o701, 0o777] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        let Err(error @ CacheError::Untrusted { .. }) = open(&folder) else { panic!("{mode:o} was taken") };
        assert!(error.to_string().contains("0700"), "{error}");
    }
    assert!(matches!(open(Path::new("/dev/null/cache")), Err(CacheError::Folder { .. })));
}

#[test]
fn the_oldest_entries_go_where_there_are_too_many_entries_or_bytes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("cache");
    let folder = Folder::open(&path, CacheLimits { entries: 3, bytes: 1000 }).unwrap();
    let names = || {
        let mut names: Vec<String> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let write = |key: &str, bytes: usize, age: u64| {
        folder.write(key, &vec![0; bytes]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age);
        File::open(folder.path_of(key)).unwrap().set_modified(time).unwrap();
    };
    fs::write(path.join("not-ours"), b"stays").unwrap();
    for (number, age) in [("1", 500), ("2", 400), ("3", 300), ("4", 200)] {
        write(number, 100, age);
    }
    assert_eq!(names(), ["2.analysis", "3.analysis", "4.analysis", "not-ours"]);
    write("5", 850, 100);
    assert_eq!(names(), ["4.analysis", "5.analysis", "not-ours"]);
    folder.write("6", &vec![0; 1001]).unwrap();
    assert_eq!(names(), ["4.analysis", "5.analysis", "not-ours"], "larger than everything");
}

proptest! {
    /// However an entry is damaged, what is given is what is in the file.
    #[test]
    fn a_damaged_entry_never_changes_the_answer(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let fixture = Fixture::new();
        let first = fixture.look(&fixture.library).analysis;
        let entry = fixture.entries().remove(0);
        let mut bytes = fs::read(&entry).unwrap();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&entry, bytes).unwrap();
        prop_assert_eq!(fixture.look(&fixture.library).analysis, first);
    }
}
