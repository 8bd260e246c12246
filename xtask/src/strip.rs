//! Removes debug sections from a BPF object.
//!
//! A loader needs the programs, the maps, relocations, symbols, `.BTF` and `.BTF.ext`; DWARF only
//! makes the object tens of times larger. An object file is relocatable, so tools for executables
//! don't fit, and the LLVM ones are not part of every toolchain: it is rewritten here, and compared with
//! the original afterwards.

use anyhow::{Context, Result, bail, ensure};
use object::build::elf::{Builder, SectionData};
use object::read::elf::ElfFile64;
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags, RelocationTarget,
};

/// The object without `.debug_*` and what refers to them.
pub(crate) fn debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read64(object).context("not an ELF object of 64 bits")?;
    for section in &mut builder.sections {
        section.delete = is_debug(&section.name.to_string());
    }
    // LLVM keeps section names among the symbols' names; the writer wants a section of their own.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = object::elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphan_symbols();
    builder.delete_orphan_relocations();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("could not write the stripped object")?;
    ensure!(
        content(object)? == content(&stripped)?,
        "stripping changed more than the debug sections of the object: refusing to use it"
    );
    Ok(stripped)
}

fn is_debug(section: &str) -> bool {
    section.starts_with(".debug_") || section.starts_with(".rel.debug_")
}

/// All that a loader looks at, free of section and symbol numbers, which stripping may change.
#[derive(PartialEq)]
struct Content {
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

#[derive(PartialEq)]
struct Section {
    name: String,
    data: Vec<u8>,
    align: u64,
    flags: object::SectionFlags,
    relocations: Vec<(u64, RelocationFlags, i64, Symbol)>,
}

#[derive(PartialEq)]
struct Symbol {
    name: String,
    section: Option<String>,
    address: u64,
    size: u64,
    kind: object::SymbolKind,
    flags: object::SymbolFlags<object::SectionIndex, object::SymbolIndex>,
}

fn content(object: &[u8]) -> Result<Content> {
    let file = ElfFile64::<Endianness>::parse(object)?;
    let describe = |symbol: object::SymbolIndex| -> Result<Symbol> {
        let symbol = file.symbol_by_index(symbol)?;
        let section = match symbol.section_index() {
            Some(index) => Some(file.section_by_index(index)?.name()?.to_owned()),
            None => None,
        };
        Ok(Symbol {
            name: symbol.name()?.to_owned(),
            section,
            address: symbol.address(),
            size: symbol.size(),
            kind: symbol.kind(),
            flags: symbol.flags(),
        })
    };
    let mut sections = Vec::new();
    for section in file.sections() {
        let name = section.name()?.to_owned();
        let bookkeeping =
            matches!(name.as_str(), ".strtab" | ".shstrtab" | ".symtab") || name.starts_with(".rel");
        if is_debug(&name) || bookkeeping {
            continue;
        }
        let mut relocations = Vec::new();
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(target) = relocation.target() else {
                bail!("{name}+{offset:#x}: a relocation without a symbol");
            };
            relocations.push((offset, relocation.flags(), relocation.addend(), describe(target)?));
        }
        sections.push(Section {
            name,
            data: section.data()?.to_vec(),
            align: section.align(),
            flags: section.flags(),
            relocations,
        });
    }
    let mut symbols = Vec::new();
    for symbol in file.symbols() {
        let symbol = describe(symbol.index())?;
        if !symbol.section.as_deref().is_some_and(is_debug) {
            symbols.push(symbol);
        }
    }
    Ok(Content { sections, symbols })
}
