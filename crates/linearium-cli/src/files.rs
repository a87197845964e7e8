//! Files: bounded reading, and writing that leaves a whole file or none.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// An error of the file system in words; a sentence goes on with it.
fn reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be accessed".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
        io::ErrorKind::NotADirectory => "a part of its path is not a folder".to_owned(),
        _ => e.to_string(),
    }
}

/// Opens a file for reading.
///
/// # Errors
/// One sentence if it is not there, is a folder, or may not be read.
pub fn open(path: &Path) -> Result<File, String> {
    let cannot = |e: &io::Error| format!("{} cannot be read: {}", path.display(), reason(e));
    let file = File::open(path).map_err(|e| cannot(&e))?;
    let metadata = file.metadata().map_err(|e| cannot(&e))?;
    if metadata.is_dir() {
        return Err(cannot(&io::ErrorKind::IsADirectory.into()));
    }
    Ok(file)
}

/// Reads at most `most` bytes of a file.
///
/// # Errors
/// As [`open`].
pub fn read_start(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    open(path)?
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("{} cannot be read: {}", path.display(), reason(&e)))?;
    Ok(bytes)
}

/// The beginning of a text.
pub struct Text {
    /// At least as many bytes as were asked for, or all that there are.
    pub bytes: Vec<u8>,
    /// True if the file goes on behind them.
    pub cut: bool,
}

/// Reads the first `needed` bytes of a text, and up to three more or less where the file goes on,
/// so that no UTF-8 sequence is cut.
///
/// # Errors
/// As [`open`], or if the text is empty.
pub fn read_text(path: &Path, needed: usize) -> Result<Text, String> {
    let mut bytes = read_start(path, needed as u64 + 5)?;
    if bytes.is_empty() {
        return Err(format!(
            "the text {} is empty: give a file with at least one byte",
            path.display()
        ));
    }
    let cut = bytes.len() == needed + 5;
    if cut {
        bytes.truncate(needed + 4);
        // The last byte that begins a character, and how many bytes that character has.
        let begins = bytes.iter().rposition(|b| b & 0xC0 != 0x80).unwrap_or(0);
        let length = match bytes[begins] {
            0xC0..0xE0 => 2,
            0xE0..0xF0 => 3,
            0xF0..0xF8 => 4,
            _ => 1,
        };
        if begins + length > bytes.len() {
            bytes.truncate(begins);
        }
    }
    Ok(Text { bytes, cut })
}

/// A file in the making. It gets its name when it is complete; until then, and if it is dropped
/// before, nothing of it is seen under that name.
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl NewFile {
    /// Begins a file.
    ///
    /// # Errors
    /// One sentence if it cannot be written there; better before the work than after it.
    pub fn create(path: &Path) -> Result<NewFile, String> {
        let cannot = |why: &str| format!("{} cannot be written: {why}", path.display());
        if path.is_dir() {
            return Err(cannot("it is a folder, give the name of a file"));
        }
        let Some(name) = path.file_name() else {
            return Err(cannot("it is not the name of a file"));
        };
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = File::create_new(&temporary).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => cannot("its folder does not exist"),
            io::ErrorKind::PermissionDenied => cannot("its folder may not be written to"),
            _ => cannot(&reason(&e)),
        })?;
        Ok(NewFile {
            path: path.to_owned(),
            temporary,
            writer: Some(BufWriter::new(file)),
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// One sentence, for example if the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        writer
            .write_all(bytes)
            .map_err(|e| format!("{} cannot be written: {}", self.path.display(), reason(&e)))
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// One sentence, for example if the disk is full.
    pub fn finish(mut self) -> Result<(), String> {
        let cannot =
            |e: &io::Error| format!("{} cannot be written: {}", self.path.display(), reason(e));
        if let Some(mut writer) = self.writer.take() {
            writer.flush().map_err(|e| cannot(&e))?;
        }
        fs::rename(&self.temporary, &self.path).map_err(|e| cannot(&e))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        self.writer = None;
        // Gone already if the file got its name; otherwise nothing more can be done about it.
        let _ = fs::remove_file(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_between_characters() {
        let path = std::env::temp_dir().join(format!("linearium-cut-{}", std::process::id()));
        fs::write(&path, "a€".repeat(10)).unwrap();
        for needed in 1..36 {
            let text = read_text(&path, needed).unwrap();
            assert!(text.cut == (needed < 36), "{needed}");
            assert!(text.bytes.len() >= needed && text.bytes.len() <= needed + 4);
            let inside = std::str::from_utf8(&text.bytes).is_ok();
            assert!(inside, "{needed}: {:?}", text.bytes);
        }
        assert_eq!(read_text(&path, 100).unwrap().bytes.len(), 40);
        fs::remove_file(&path).unwrap();
    }
}
