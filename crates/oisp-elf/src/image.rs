//! An ELF file as far as the analysis needs it.

use std::cell::OnceCell;
use std::fs::File;
use std::path::Path;

use memmap2::{Mmap, MmapMut};
use object::elf::{DT_SONAME, ET_DYN, ET_EXEC, FileHeader64, PT_LOAD};
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _};
use serde::{Deserialize, Serialize};

use crate::code::Code;

/// The CPU that a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Architecture {
    /// The CPU that this program was built for, where the sensor supports it.
    #[must_use]
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

/// Why a file cannot be analysed.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It cannot be opened or mapped.
    #[error("cannot read the file: {0}")]
    Io(#[from] std::io::Error),
    /// It is not an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// It is an ELF file, but not one of a supported kind.
    #[error("unsupported ELF file: {0}")]
    Unsupported(&'static str),
    /// Its structure contradicts itself.
    #[error("damaged ELF file: {0}")]
    Damaged(String),
}

impl From<object::read::Error> for ElfError {
    fn from(error: object::read::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// A memory-mapped ELF file.
#[derive(Debug)]
pub struct Image {
    map: Mmap,
}

impl Image {
    /// Maps the file at a path.
    ///
    /// # Errors
    /// When it cannot be opened or is not a regular, non-empty file.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        Self::map(&File::open(path)?)
    }

    /// Maps an open file.
    ///
    /// # Errors
    /// When it is not a regular, non-empty file.
    pub fn map(file: &File) -> Result<Self, ElfError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(ElfError::NotElf);
        }
        // SAFETY: a private, read-only mapping. Another process may still change the file under it: then what is read
        // changes, which the parser treats as any hostile input; programs and libraries in use are replaced by
        // renaming, not truncated, so the mapping does not shrink in practice.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self { map })
    }

    /// As if a file had these bytes.
    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Self, ElfError> {
        if bytes.is_empty() {
            return Err(ElfError::NotElf);
        }
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self { map: map.make_read_only()? })
    }

    /// The file's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// A parsed file: 64-bit, little-endian, an executable or a shared object, of a supported CPU.
pub(crate) struct Parsed<'a> {
    bytes: &'a [u8],
    pub(crate) file: ElfFile64<'a, Endianness>,
    pub(crate) architecture: Architecture,
    segments: Vec<Segment>,
    code: OnceCell<Code<'a>>,
}

/// A loaded part of the file.
#[derive(Clone, Copy)]
struct Segment {
    address: u64,
    offset: u64,
    file_size: u64,
    executable: bool,
    writable: bool,
}

/// A loaded part of the file with its bytes, as far as the file has them.
#[derive(Clone, Copy)]
pub(crate) struct Region<'a> {
    pub(crate) address: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) executable: bool,
    pub(crate) writable: bool,
}

impl<'a> Parsed<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if bytes.get(..4) != Some(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        if bytes.get(4) != Some(&2) {
            return Err(ElfError::Unsupported("not 64-bit"));
        }
        let header = FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        if endian != Endianness::Little {
            return Err(ElfError::Unsupported("not little-endian"));
        }
        if !matches!(header.e_type(endian), ET_DYN | ET_EXEC) {
            return Err(ElfError::Unsupported("neither an executable nor a shared library"));
        }
        let file = ElfFile64::<Endianness>::parse(bytes)?;
        let architecture = match file.architecture() {
            object::Architecture::X86_64 => Architecture::X86_64,
            object::Architecture::Aarch64 => Architecture::Aarch64,
            _ => return Err(ElfError::Unsupported("neither x86_64 nor aarch64")),
        };
        let segments = header
            .program_headers(endian, bytes)?
            .iter()
            .filter(|header| header.p_type(endian) == PT_LOAD)
            .map(|header| Segment {
                address: header.p_vaddr(endian),
                offset: header.p_offset(endian),
                file_size: header.p_filesz(endian),
                executable: header.p_flags(endian) & object::elf::PF_X != 0,
                writable: header.p_flags(endian) & object::elf::PF_W != 0,
            })
            .collect();
        Ok(Self { bytes, file, architecture, segments, code: OnceCell::new() })
    }

    /// The machine code, looked into when it is first asked for.
    pub(crate) fn code(&self) -> &Code<'a> {
        self.code.get_or_init(|| Code::of(self))
    }

    /// The loaded parts, each cut to what the file has of it.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Region<'a>> + '_ {
        let bytes = self.file.data();
        self.segments.iter().map(move |segment| {
            let start = usize::try_from(segment.offset).unwrap_or(usize::MAX).min(bytes.len());
            let size = usize::try_from(segment.file_size).unwrap_or(usize::MAX).min(bytes.len() - start);
            Region {
                address: segment.address,
                bytes: &bytes[start..start + size],
                executable: segment.executable,
                writable: segment.writable,
            }
        })
    }

    /// The place in the file of an address in executable code; `None` for anything else.
    pub(crate) fn code_offset(&self, address: u64) -> Option<u64> {
        self.locate(address, |segment| segment.executable)
    }

    /// The code from an address to the end of what is executable; `None` where there is none.
    pub(crate) fn code_from(&self, address: u64) -> Option<&'a [u8]> {
        let (segment, within) =
            self.segments.iter().filter(|segment| segment.executable).find_map(|segment| {
                let within = address.checked_sub(segment.address)?;
                (within < segment.file_size).then_some((segment, within))
            })?;
        let start = usize::try_from(segment.offset.checked_add(within)?).ok()?;
        let end = usize::try_from(segment.offset.checked_add(segment.file_size)?).ok()?;
        self.bytes.get(start..end.min(self.bytes.len()))
    }

    /// The place in the file of an address in any loaded part.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        self.locate(address, |_| true)
    }

    fn locate(&self, address: u64, accept: impl Fn(&Segment) -> bool) -> Option<u64> {
        self.segments.iter().filter(|segment| accept(segment)).find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            (within < segment.file_size).then(|| segment.offset.checked_add(within))?
        })
    }

    /// Whether it has a name for others to be linked to it by (`DT_SONAME`): libraries have one, executables and modules
    /// that are loaded by their path do not.
    pub(crate) fn is_named_by_others(&self) -> bool {
        let endian = self.file.endian();
        self.file.elf_program_headers().iter().any(|segment| {
            let entries = segment.dynamic(endian, self.bytes).ok().flatten().unwrap_or_default();
            entries.iter().any(|entry| entry.d_tag(endian) == DT_SONAME)
        })
    }

    /// The GNU build id, in hexadecimal.
    pub(crate) fn build_id(&self) -> Option<String> {
        let id = self.file.build_id().ok().flatten()?;
        Some(id.iter().take(64).map(|byte| format!("{byte:02x}")).collect())
    }
}
