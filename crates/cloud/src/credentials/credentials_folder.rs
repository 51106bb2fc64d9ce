//! Credentials as a mounted Secret: a folder with a file for each part, which changes when the Secret does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use secrecy::{ExposeSecret, SecretString};

use crate::credentials::access_key::Credentials;
use crate::credentials::default_credentials::{DefaultCredentials, DefaultCredentialsError, UnreadableCredentials};
use crate::credentials::file_stamp::FileStamp;

const ACCESS_KEY: &str = "accessKey";

const SECRET_KEY: &str = "secretKey";

const SECURITY_TOKEN: &str = "securityToken";

const FILES: [&str; 3] = [ACCESS_KEY, SECRET_KEY, SECURITY_TOKEN];

/// A Secret that is changed while it is read is read again; a mix of two versions would be a wrong signature.
const ATTEMPTS: usize = 3;

/// `None`: there is no such file.
type OptionalStamp = Option<FileStamp>;

/// Reads a folder again only when a file of it has changed.
#[derive(Debug, Default)]
pub(crate) struct CredentialsFolder(Mutex<Option<([OptionalStamp; FILES.len()], DefaultCredentials)>>);

impl CredentialsFolder {
    /// The credentials as they are now.
    pub(crate) fn read(&self, folder: &Path) -> Result<DefaultCredentials, DefaultCredentialsError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ATTEMPTS {
            let stamps = stamps(folder);
            if let Some((_, own)) = last.as_ref().filter(|(seen, _)| *seen == stamps) {
                return Ok(own.clone());
            }
            let own = read_all(folder);
            if stamps == self::stamps(folder) {
                let own = own?;
                *last = Some((stamps, own.clone()));
                return Ok(own);
            }
        }
        Err(unreadable(folder.to_owned(), UnreadableCredentials::Unstable))
    }
}

fn stamps(folder: &Path) -> [OptionalStamp; FILES.len()] {
    FILES.map(|name| FileStamp::of(&folder.join(name)).ok())
}

fn read_all(folder: &Path) -> Result<DefaultCredentials, DefaultCredentialsError> {
    let access_key = required(folder, ACCESS_KEY)?;
    let credentials = Credentials::new(
        access_key.expose_secret().to_owned(),
        required(folder, SECRET_KEY)?,
        optional(folder, SECURITY_TOKEN)?,
    );
    let credentials = credentials.map_err(|problem| DefaultCredentialsError::BadKey {
        file: folder.to_owned(),
        problem,
    })?;
    Ok(DefaultCredentials {
        credentials: credentials.into(),
        project_id: None,
        iam_endpoint: None,
    })
}

fn required(folder: &Path, name: &str) -> Result<SecretString, DefaultCredentialsError> {
    optional(folder, name)?.ok_or_else(|| unreadable(folder.join(name), UnreadableCredentials::Missing))
}

/// A file that is empty counts as none.
fn optional(folder: &Path, name: &str) -> Result<Option<SecretString>, DefaultCredentialsError> {
    let file = folder.join(name);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(Into::into)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(file, error)),
    }
}

fn unreadable(file: PathBuf, problem: impl Into<UnreadableCredentials>) -> DefaultCredentialsError {
    DefaultCredentialsError::Unreadable {
        file,
        source: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::keys::{CREDENTIALS_FILE, DefaultCredentialsSource};
    use std::os::unix::fs::symlink;

    /// A mounted Secret, as the kubelet makes it: `..data` leads to the version that counts.
    struct Mounted(tempfile::TempDir);

    impl Mounted {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            for name in FILES {
                symlink(format!("..data/{name}"), folder.path().join(name)).expect("linked");
            }
            Self(folder)
        }

        fn put(&self, version: &str, files: &[(&str, &str)]) {
            let data = self.0.path().join(version);
            fs::create_dir(&data).expect("made");
            for (name, text) in files {
                fs::write(data.join(name), text).expect("written");
            }
            let link = self.0.path().join("..next");
            symlink(version, &link).expect("linked");
            fs::rename(link, self.0.path().join("..data")).expect("put in place");
        }

        fn source(&self) -> DefaultCredentialsSource {
            let path = self.0.path().to_str().expect("a plain path").to_owned();
            DefaultCredentialsSource::new(move |name| (name == CREDENTIALS_FILE).then(|| path.clone()))
        }
    }

    fn keys(source: &DefaultCredentialsSource) -> Result<(String, String, Option<String>), String> {
        let own = source.read().map_err(|error| error.to_string())?;
        let it = &own.credentials;
        let token = it.security_token.as_ref().map(|token| token.expose_secret().to_owned());
        Ok((it.access_key.clone(), it.secret_key.expose_secret().to_owned(), token))
    }

    #[test]
    fn a_mounted_secret_is_read_again_when_it_changes() {
        let mounted = Mounted::new();
        let source = mounted.source();
        let error = keys(&source).expect_err("nothing there yet");
        assert!(
            error.contains("accessKey") && error.contains(CREDENTIALS_FILE),
            "{error}"
        );
        mounted.put("..1", &[("accessKey", "A\n"), ("secretKey", "first")]);
        assert_eq!(keys(&source), Ok(("A".to_owned(), "first".to_owned(), None)));
        let again = source.read().expect("the same");
        assert!(std::sync::Arc::ptr_eq(
            &again.credentials,
            &source.read().expect("the same").credentials
        ));
        mounted.put(
            "..2",
            &[("accessKey", "B"), ("secretKey", "second"), ("securityToken", "token")],
        );
        assert_eq!(
            keys(&source),
            Ok(("B".to_owned(), "second".to_owned(), Some("token".to_owned())))
        );
        mounted.put("..3", &[("accessKey", "C"), ("secretKey", "")]);
        let error = keys(&source).expect_err("half of a pair");
        assert!(error.contains("secretKey"), "{error}");
    }

    #[test]
    fn an_invalid_credential_part_is_reported_without_its_value() {
        let mounted = Mounted::new();
        mounted.put("..1", &[("accessKey", "A"), ("secretKey", "hunter2 x")]);
        let error = keys(&mounted.source()).expect_err("a space");
        assert!(
            error.contains("the secret key holds characters") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
