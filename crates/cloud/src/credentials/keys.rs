//! The source of the default credentials: the environment, else one file that is named there. No other source is tried.

pub use crate::credentials::access_key::{Credentials, UnusableCredentials};
use crate::credentials::credentials_folder::CredentialsFolder;

pub use crate::credentials::default_credentials::{
    ACCESS_KEY, CREDENTIALS_FILE, DefaultCredentials, DefaultCredentialsError, SECRET_KEY,
};
use crate::credentials::default_credentials::{SECTION, SECURITY_TOKEN};
use crate::credentials::file_stamp::FileStamp;
use ini::{Ini, ParseOption};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The source of the default credentials.
#[derive(Debug)]
pub struct DefaultCredentialsSource(SourceKind);

#[derive(Debug)]
enum SourceKind {
    Fixed(Result<DefaultCredentials, DefaultCredentialsError>),
    File {
        path: PathBuf,
        folder: CredentialsFolder,
        last: Mutex<Option<LastRead>>,
    },
}

/// The result of the last read, good or bad, and the version of the file.
#[derive(Debug)]
struct LastRead {
    stamp: FileStamp,
    result: Result<DefaultCredentials, DefaultCredentialsError>,
}

impl DefaultCredentialsSource {
    /// Reads the environment through `variable`. An empty variable counts as not set.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| {
            variable(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let (access_key, secret_key, token) = (variable(ACCESS_KEY), variable(SECRET_KEY), variable(SECURITY_TOKEN));
        let fixed = match (access_key, secret_key, token) {
            (Some(access_key), Some(secret_key), token) => from_variables(access_key, secret_key, token),
            (Some(_), None, _) => Err(DefaultCredentialsError::MissingVariable {
                missing: SECRET_KEY,
                present: ACCESS_KEY,
            }),
            (None, Some(_), _) => Err(DefaultCredentialsError::MissingVariable {
                missing: ACCESS_KEY,
                present: SECRET_KEY,
            }),
            (None, None, Some(_)) => Err(DefaultCredentialsError::MissingVariable {
                missing: ACCESS_KEY,
                present: SECURITY_TOKEN,
            }),
            (None, None, None) => match variable(CREDENTIALS_FILE) {
                Some(path) => {
                    return Self(SourceKind::File {
                        path: path.into(),
                        folder: CredentialsFolder::default(),
                        last: Mutex::new(None),
                    });
                }
                None => Err(DefaultCredentialsError::NotConfigured),
            },
        };
        Self(SourceKind::Fixed(fixed))
    }

    /// Returns the current credentials. Reads the file once per change of its time or length, even if its content is
    /// not valid. Blocks for as long as it takes to read a small file.
    pub fn read(&self) -> Result<DefaultCredentials, DefaultCredentialsError> {
        let (path, folder, last) = match &self.0 {
            SourceKind::Fixed(fixed) => return fixed.clone(),
            SourceKind::File { path, folder, last } => (path, folder, last),
        };
        if path.is_dir() {
            return folder.read(path);
        }
        let unreadable = |error: io::Error| DefaultCredentialsError::Unreadable {
            file: path.clone(),
            source: error.into(),
        };
        // The stamp is taken first, so that the next read notices a change in between.
        let stamp = FileStamp::of(path).map_err(unreadable)?;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.stamp == stamp) {
            return last.result.clone();
        }
        // A failed read is not remembered: permission to read the file can be granted without a change of its stamp.
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let result = from_file(path, &text);
        *last = Some(LastRead {
            stamp,
            result: result.clone(),
        });
        result
    }
}

fn from_variables(
    access_key: String,
    secret_key: String,
    token: Option<String>,
) -> Result<DefaultCredentials, DefaultCredentialsError> {
    let credentials = Credentials::new(access_key, secret_key.into(), token.map(Into::into)).map_err(|problem| {
        let variable = match problem.part {
            "access key" => ACCESS_KEY,
            "secret key" => SECRET_KEY,
            _ => SECURITY_TOKEN,
        };
        DefaultCredentialsError::BadVariable { variable, problem }
    })?;
    Ok(DefaultCredentials {
        credentials: Arc::new(credentials),
        project_id: None,
        iam_endpoint: None,
    })
}

pub(crate) fn from_file(path: &Path, text: &str) -> Result<DefaultCredentials, DefaultCredentialsError> {
    let file = || path.to_owned();
    // Keys may contain any character: quotes and backslashes have no special meaning.
    let as_written = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        ..ParseOption::default()
    };
    let ini = Ini::load_from_str_opt(text, as_written).map_err(|error| DefaultCredentialsError::Malformed {
        file: file(),
        line: error.line + 1,
    })?;
    let value = |key: &str| {
        ini.get_from(Some(SECTION), key)
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let required = |key| value(key).ok_or_else(|| DefaultCredentialsError::MissingKey { file: file(), key });
    let credentials = Credentials::new(
        required("ak")?,
        required("sk")?.into(),
        value("security_token").map(Into::into),
    )
    .map_err(|problem| DefaultCredentialsError::BadKey { file: file(), problem })?;
    Ok(DefaultCredentials {
        credentials: Arc::new(credentials),
        project_id: value("project_id"),
        iam_endpoint: value("iam_endpoint"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::{collections::HashMap, path::Path, time::Duration};

    fn source(variables: &[(&str, &str)]) -> DefaultCredentialsSource {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        DefaultCredentialsSource::new(|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    fn parts(own: &DefaultCredentials) -> (&str, &str, Option<&str>) {
        let it = &own.credentials;
        (
            &it.access_key,
            it.secret_key.expose_secret(),
            it.security_token.as_ref().map(ExposeSecret::expose_secret),
        )
    }

    #[test]
    fn the_environment_overrides_the_credentials_file() {
        let own = source(&[
            (ACCESS_KEY, "AK"),
            (SECRET_KEY, " SK\n"),
            (CREDENTIALS_FILE, "/does/not/exist"),
        ])
        .read();
        assert_eq!(parts(&own.expect("complete")), ("AK", "SK", None));
        let own = source(&[(ACCESS_KEY, "AK"), (SECRET_KEY, "SK"), (SECURITY_TOKEN, "T+/=")]).read();
        assert_eq!(parts(&own.expect("complete")), ("AK", "SK", Some("T+/=")));
    }

    #[test]
    fn missing_credential_parts_are_named() {
        for (variables, words) in [
            (&[][..], &[ACCESS_KEY, SECRET_KEY, CREDENTIALS_FILE][..]),
            (&[(ACCESS_KEY, ""), (SECRET_KEY, " ")], &["no default credentials"]),
            (&[(ACCESS_KEY, "AK")], &["HUAWEICLOUD_SDK_SK is not set"]),
            (&[(SECRET_KEY, "hunter2")], &["HUAWEICLOUD_SDK_AK is not set"]),
            (
                &[(SECURITY_TOKEN, "hunter2"), (CREDENTIALS_FILE, "/f")],
                &["HUAWEICLOUD_SDK_AK is not set"],
            ),
            (
                &[(ACCESS_KEY, "AK"), (SECRET_KEY, "hunter2\nx")],
                &["HUAWEICLOUD_SDK_SK cannot be used"],
            ),
            (
                &[(ACCESS_KEY, "A,K"), (SECRET_KEY, "hunter2")],
                &["HUAWEICLOUD_SDK_AK cannot be used"],
            ),
            (
                &[(CREDENTIALS_FILE, "/does/not/exist")],
                &["/does/not/exist", CREDENTIALS_FILE, "cannot be read"],
            ),
        ] {
            let error = source(variables).read().expect_err("incomplete").to_string();
            for word in words {
                assert!(error.contains(word), "{variables:?}: {error}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_credentials_file_is_parsed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        let own = source(&[(CREDENTIALS_FILE, path.to_str().expect("a plain path"))]);
        let text = "# ours\n[global]\nak = other\n\n[basic]\nak = AK\nsk = S\\K\"#;'x\nsecurity_token=T==\n\
                    project_id = p\niam_endpoint = https://iam.example.com\n";
        fs::write(&path, text).expect("written");
        let read = own.read().expect("complete");
        assert_eq!(parts(&read), ("AK", "S\\K\"#;'x", Some("T==")));
        assert_eq!(read.project_id.as_deref(), Some("p"));
        assert_eq!(read.iam_endpoint.as_deref(), Some("https://iam.example.com"));
    }

    /// Writes a file and sets the second of its last change.
    fn written(path: &Path, text: &str, second: u64) {
        fs::write(path, text).expect("written");
        let modified = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let file = fs::File::options().write(true).open(path);
        file.and_then(|file| file.set_modified(modified)).expect("stamped");
    }

    #[test]
    fn the_credentials_file_is_read_again_when_size_or_mtime_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        let own = source(&[(CREDENTIALS_FILE, path.to_str().expect("a plain path"))]);
        let write = |text: &str, second| written(&path, text, second);
        write("[basic]\nak = A\nsk = 1\n", 1_000);
        let first = own.read().expect("complete");
        assert!(
            Arc::ptr_eq(&first.credentials, &own.read().expect("complete").credentials),
            "unchanged: not read"
        );
        write("[basic]\nak = B\nsk = 2\n", 2_000);
        assert_eq!(parts(&own.read().expect("complete")), ("B", "2", None));
        write("[basic]\nak = CC\nsk = 3\n", 2_000);
        assert_eq!(parts(&own.read().expect("complete")), ("CC", "3", None));
        fs::remove_file(&path).expect("removed");
        assert!(
            own.read().is_err(),
            "a deleted file is an error; the old keys are not used any more"
        );
    }

    #[test]
    fn an_invalid_credentials_file_is_read_once_per_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        let own = source(&[(CREDENTIALS_FILE, path.to_str().expect("a plain path"))]);
        let write = |text: &str, second| written(&path, text, second);
        write("[basic]\nak = A\nxx = 1\n", 1_000);
        let error = own.read().expect_err("no secret key");
        // Neither length nor time shows this change: only reading the file every time would notice it.
        write("[basic]\nak = A\nsk = 1\n", 1_000);
        assert_eq!(own.read().expect_err("not read"), error);
        write("[basic]\nak = A\nsk = 1\n", 2_000);
        assert_eq!(parts(&own.read().expect("complete")), ("A", "1", None));
    }

    #[test]
    fn an_invalid_credentials_file_is_named_without_its_values() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("credentials");
        let own = source(&[(CREDENTIALS_FILE, path.to_str().expect("a plain path"))]);
        for (text, words) in [
            ("", "no ak in its section [basic]"),
            ("[basic]\nak = A\n", "no sk in its section [basic]"),
            ("[global]\nak = A\nsk = hunter2\n", "no ak in its section [basic]"),
            ("[basic]\nak = A\nsk = hunter2 x\n", "the secret key holds characters"),
            ("[basic\nak = hunter2\n", "not an INI file: line"),
        ] {
            fs::write(&path, text).expect("written");
            let error = own.read().expect_err(text).to_string();
            assert!(error.contains(words) && error.contains("credentials"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_output_shows_no_part_of_a_key() {
        let own = source(&[
            (ACCESS_KEY, "sentinel1"),
            (SECRET_KEY, "sentinel2"),
            (SECURITY_TOKEN, "sentinel3"),
        ]);
        let shown = format!("{own:?} {:?}", own.read());
        assert!(!shown.contains("sentinel") && shown.contains("[redacted]"), "{shown}");
    }
}
