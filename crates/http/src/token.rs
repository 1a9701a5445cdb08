//! The admin token: 32 random bytes in a file of mode 0600 in the data folder, so that whoever may
//! read that file (root, as a rule) may change things, and the command line finds it by itself.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// The admin token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why the data folder or its token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The folder cannot be made or written.
    #[error("cannot write to the data folder {}: {error}; give another one with --data-dir", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The token's file cannot be read or written.
    #[error("cannot use the token file {}: {error}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system gives no random bytes.
    #[error("cannot make a token: the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl Token {
    /// Where the token of a data folder lies.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("token")
    }

    /// Makes the data folder (mode 0700) where it is missing, and its token. Says whether the
    /// token was made now.
    pub fn open(data_dir: &Path) -> Result<(Self, bool), TokenError> {
        let folder = |error| TokenError::Folder { folder: data_dir.to_owned(), error };
        prepare_folder(data_dir).map_err(folder)?;
        let file = Self::path(data_dir);
        match Self::read(data_dir) {
            Ok(token) => return Ok((token, false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(TokenError::File { file, error }),
        }
        let token = Self::random()?;
        // Written beside and linked, so that two that start at once agree on one token and no
        // reader sees half of it.
        let draft = data_dir.join(format!(".token.{}", std::process::id()));
        let written = token.write(&draft);
        let linked = written.and_then(|()| fs::hard_link(&draft, &file));
        let removed = fs::remove_file(&draft);
        match linked {
            Ok(()) => removed.map(|()| (token, true)).map_err(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(data_dir)
                .map(|token| (token, false))
                .map_err(|error| TokenError::File { file, error }),
            Err(error) => Err(folder(error)),
        }
    }

    /// Reads the token of a data folder.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(Self::path(data_dir))?;
        let text = text.trim();
        if text.len() < 32 {
            let message = "it holds no token; remove it and start again";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether `given` is this token; takes the same time for any `given` of its length.
    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }

    /// The text, for the `Authorization` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A token that no file holds.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{}", self.0)?;
        file.sync_all()
    }
}

/// Never shown, not even in a debug log.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Makes the folder, or takes one that is ours; closes it to others. A folder that others share
/// (`/tmp`, a home) is refused rather than closed.
fn prepare_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::metadata(folder)?;
    if !metadata.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    if metadata.mode() & 0o077 != 0 {
        let ours = Token::path(folder).exists() || fs::read_dir(folder)?.next().is_none();
        if !ours || metadata.mode() & 0o1000 != 0 {
            return Err(io::Error::other("it holds other people's files, and ours must be alone"));
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_folder_is_refused_and_left_as_it_is() {
        let folder = std::env::temp_dir().join(format!("dt-shared-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join("theirs"), "x").unwrap();
        let opened = Token::open(&folder).map(|_| ());
        let mode = fs::metadata(&folder).unwrap().mode() & 0o777;
        fs::remove_dir_all(&folder).unwrap();
        assert!(opened.unwrap_err().to_string().contains("--data-dir"));
        assert_eq!(mode, 0o755);
    }

    #[test]
    fn is_made_once_and_closed_to_others() {
        let parent = std::env::temp_dir().join(format!("dt-token-{}", std::process::id()));
        let folder = parent.join("data");
        let (made, new) = Token::open(&folder).unwrap();
        let (read, again) = Token::open(&folder).unwrap();
        let modes = [folder.clone(), Token::path(&folder)]
            .map(|path| fs::metadata(path).unwrap().mode() & 0o777);
        fs::remove_dir_all(&parent).unwrap();
        assert!(new && !again && made == read);
        assert_eq!(modes, [0o700, 0o600]);
        assert!(made.is(read.as_str()) && !made.is("") && !made.is(&made.as_str()[1..]));
    }
}
