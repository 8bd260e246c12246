//! What the dynamic loader loads with a file.

use object::elf::{
    DT_NEEDED, DT_NULL, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, FileHeader64, PT_DYNAMIC, PT_INTERP,
};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Endianness, ReadRef as _};

use crate::image::{ElfError, Image};

/// A file's entries for the dynamic loader; all empty for a static program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Names of the libraries that are loaded with it.
    pub needed: Vec<String>,
    /// `DT_RPATH`: folders searched first, unless there is a `DT_RUNPATH`.
    pub rpath: Vec<String>,
    /// `DT_RUNPATH`: folders searched after `LD_LIBRARY_PATH`.
    pub runpath: Vec<String>,
    /// The dynamic loader that the program asks for.
    pub interpreter: Option<String>,
}

/// More entries than any loader would follow are not read.
const MAX_ENTRIES: usize = 4096;

/// Reads a file's entries for the dynamic loader.
///
/// # Errors
/// When it is not an ELF file that the sensor supports.
pub fn dependencies(image: &Image) -> Result<Dependencies, ElfError> {
    let parsed = crate::image::Parsed::parse(image.bytes())?;
    let bytes = image.bytes();
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut found = Dependencies::default();
    for segment in header.program_headers(endian, bytes)? {
        if segment.p_type(endian) == PT_INTERP
            && let Ok(path) = segment.data(endian, bytes)
        {
            found.interpreter = Some(text(path.split(|&byte| byte == 0).next().unwrap_or_default()));
        }
        if segment.p_type(endian) != PT_DYNAMIC {
            continue;
        }
        let entries = segment.dynamic(endian, bytes)?.unwrap_or_default();
        let value = |tag: i64| {
            entries.iter().find(|entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian))
        };
        let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else { continue };
        let Some(offset) = parsed.file_offset(address) else { continue };
        let Ok(strings) = bytes.read_bytes_at(offset, size) else { continue };
        let string = |offset: u64| {
            let rest = strings.get(usize::try_from(offset).ok()?..)?;
            Some(text(rest.split(|&byte| byte == 0).next()?))
        };
        for entry in entries.iter().take(MAX_ENTRIES) {
            let Some(name) = string(entry.d_val(endian)) else { continue };
            match entry.d_tag(endian) {
                DT_NULL => break,
                DT_NEEDED => found.needed.push(name),
                DT_RPATH => found.rpath.extend(name.split(':').map(str::to_owned)),
                DT_RUNPATH => found.runpath.extend(name.split(':').map(str::to_owned)),
                _ => {}
            }
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
