//! The cloud's rules on passwords of VPN users, checked before anything is sent. No message contains the password.

use crate::values::password::Password;

/// Minimum number of characters.
const SHORTEST: usize = 8;

/// Maximum number of characters.
const LONGEST: usize = 32;

/// Minimum number of these kinds: upper case letters, lower case letters, digits, and the rest.
const FEWEST_KINDS: usize = 2;

/// Why the cloud would refuse a password, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// No character, or only the line break at the end.
    #[error("the password is empty: put one of 8 to 32 characters into the Secret")]
    Empty,
    /// A character beyond ASCII, or bytes that are not UTF-8.
    #[error(
        "the password holds a character that is not ASCII: use only letters A-Z and a-z, digits, spaces and the \
         special characters of an English keyboard"
    )]
    NotAscii,
    /// An ASCII control character other than the line break at the end.
    #[error(
        "the password holds a control character, such as a tab or a line break: remove it (a single line break at the \
         end does no harm)"
    )]
    ControlCharacter,
    /// Fewer than 8 characters.
    #[error("the password is too short: use at least 8 characters")]
    TooShort,
    /// More than 32 characters.
    #[error("the password is too long: use at most 32 characters")]
    TooLong,
    /// Characters of one kind only.
    #[error(
        "the password is too simple: mix at least two of upper case letters, lower case letters, digits, and special \
         characters or spaces"
    )]
    TooSimple,
    /// The same as the name, case included.
    #[error("the password is the name of the user: use another one")]
    UserName,
    /// The name in reverse, case included.
    #[error("the password is the name of the user written backwards: use another one")]
    ReversedUserName,
}

/// Reads the password of a Secret. Removes one line break at its end, since editors and `echo` add one.
pub fn read(bytes: &[u8]) -> Result<Password, PasswordProblem> {
    let without_lf = bytes.strip_suffix(b"\n");
    let value = without_lf.map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let value = str::from_utf8(value).map_err(|_| PasswordProblem::NotAscii)?;
    check_characters(value)?;
    Ok(Password::new(value))
}

/// Checks whether the cloud would accept the password for this user. Only the cloud knows the latest five passwords.
pub fn check(password: &str, user_name: &str) -> Result<(), PasswordProblem> {
    check_characters(password)?;
    if password.len() < SHORTEST {
        return Err(PasswordProblem::TooShort);
    }
    if password.len() > LONGEST {
        return Err(PasswordProblem::TooLong);
    }
    if password == user_name {
        return Err(PasswordProblem::UserName);
    }
    if password.chars().eq(user_name.chars().rev()) {
        return Err(PasswordProblem::ReversedUserName);
    }
    let kinds: [fn(u8) -> bool; 4] = [
        |byte| byte.is_ascii_uppercase(),
        |byte| byte.is_ascii_lowercase(),
        |byte| byte.is_ascii_digit(),
        |byte| byte.is_ascii_punctuation() || byte == b' ',
    ];
    match kinds.iter().filter(|is| password.bytes().any(is)).count() {
        FEWEST_KINDS.. => Ok(()),
        _ => Err(PasswordProblem::TooSimple),
    }
}

/// Allows letters, digits, spaces and all ASCII punctuation.
fn check_characters(password: &str) -> Result<(), PasswordProblem> {
    if password.is_empty() {
        return Err(PasswordProblem::Empty);
    }
    if !password.is_ascii() {
        return Err(PasswordProblem::NotAscii);
    }
    if password.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(PasswordProblem::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROBLEMS: [PasswordProblem; 8] = [
        PasswordProblem::Empty,
        PasswordProblem::NotAscii,
        PasswordProblem::ControlCharacter,
        PasswordProblem::TooShort,
        PasswordProblem::TooLong,
        PasswordProblem::TooSimple,
        PasswordProblem::UserName,
        PasswordProblem::ReversedUserName,
    ];

    #[test]
    fn every_password_rule_is_checked_at_its_boundary() {
        for (password, user, expected) in [
            ("", "alice", Err(PasswordProblem::Empty)),
            ("pässword1", "alice", Err(PasswordProblem::NotAscii)),
            ("pass\tword1", "alice", Err(PasswordProblem::ControlCharacter)),
            ("password\u{7f}1", "alice", Err(PasswordProblem::ControlCharacter)),
            ("abcdef1", "alice", Err(PasswordProblem::TooShort)),
            ("abcdefg1", "alice", Ok(())),
            ("abcdefghijklmnopqrstuvwxyz012345", "alice", Ok(())),
            (
                "abcdefghijklmnopqrstuvwxyz0123456",
                "alice",
                Err(PasswordProblem::TooLong),
            ),
            ("abcdefgh", "alice", Err(PasswordProblem::TooSimple)),
            ("ABCDEFGH", "alice", Err(PasswordProblem::TooSimple)),
            ("12345678", "alice", Err(PasswordProblem::TooSimple)),
            ("!?!? !?!", "alice", Err(PasswordProblem::TooSimple)),
            ("abcd efg", "alice", Ok(())),
            ("ABCDEFGh", "alice", Ok(())),
            ("1234567~", "alice", Ok(())),
            ("alice.dev", "alice.dev", Err(PasswordProblem::UserName)),
            ("ved.ecila", "alice.dev", Err(PasswordProblem::ReversedUserName)),
            ("Alice.dev", "alice.dev", Ok(())),
            ("alice.dev1", "alice.dev", Ok(())),
        ] {
            assert_eq!(check(password, user), expected, "{password:?}");
        }
        for special in "`~!@#$%^&*()-_=+\\|[{}];:'\",<.>/? ".chars() {
            assert_eq!(check(&format!("abcdefg{special}"), "alice"), Ok(()), "{special:?}");
        }
    }

    #[test]
    fn only_one_trailing_newline_of_a_secret_is_removed() {
        for (bytes, expected) in [
            (&b"abc1"[..], Ok("abc1")),
            (b"abc1\n", Ok("abc1")),
            (b"abc1\r\n", Ok("abc1")),
            (b" abc1 \n", Ok(" abc1 ")),
            (b"abc1\n\n", Err(PasswordProblem::ControlCharacter)),
            (b"abc1\r", Err(PasswordProblem::ControlCharacter)),
            (b"abc1\n\r\n", Err(PasswordProblem::ControlCharacter)),
            (b"\nabc1", Err(PasswordProblem::ControlCharacter)),
            (b"a\0bc1", Err(PasswordProblem::ControlCharacter)),
            (b"", Err(PasswordProblem::Empty)),
            (b"\n", Err(PasswordProblem::Empty)),
            (b"\r\n", Err(PasswordProblem::Empty)),
            ("grün1".as_bytes(), Err(PasswordProblem::NotAscii)),
            (b"\xff\xfe", Err(PasswordProblem::NotAscii)),
            (b"\xef\xbb\xbfabc1", Err(PasswordProblem::NotAscii)),
        ] {
            assert_eq!(read(bytes), expected.map(Password::new), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_up_to_a_trailing_newline_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            match read(&bytes) {
                Ok(password) => {
                    let value = password.expose().as_bytes();
                    prop_assert!(value.iter().all(|byte| (b' '..=b'~').contains(byte)) && !value.is_empty());
                    let rest = bytes.strip_prefix(value);
                    prop_assert!(matches!(rest, Some(b"" | b"\n" | b"\r\n")), "{:?}", rest);
                }
                Err(problem) => prop_assert!(PROBLEMS[..3].contains(&problem)),
            }
        }

        #[test]
        fn printable_text_with_a_trailing_newline_is_read(value in "[ -~]{1,40}", end in "(\r?\n)?") {
            prop_assert_eq!(read(format!("{value}{end}").as_bytes()), Ok(Password::new(value)));
        }

        #[test]
        fn accepted_passwords_satisfy_every_rule_and_errors_hide_the_value(
            password in prop_oneof!["[ -~]{0,40}", "[a-z]{8,32}", ".{0,40}"],
            user in "[a-zA-Z0-9._-]{4,32}",
        ) {
            match check(&password, &user) {
                Ok(()) => {
                    let kinds = [
                        password.contains(|it: char| it.is_ascii_uppercase()),
                        password.contains(|it: char| it.is_ascii_lowercase()),
                        password.contains(|it: char| it.is_ascii_digit()),
                        password.contains(|it: char| !it.is_ascii_alphanumeric()),
                    ];
                    prop_assert!(kinds.into_iter().filter(|kind| *kind).count() >= 2);
                    prop_assert!((8..=32).contains(&password.chars().count()));
                    let reversed: String = user.chars().rev().collect();
                    prop_assert!(password != user && password != reversed);
                    prop_assert!(password.chars().all(|it| it == ' ' || it.is_ascii_graphic()));
                }
                // A message does not depend on the value.
                Err(problem) => prop_assert!(PROBLEMS.contains(&problem)),
            }
        }

        #[test]
        fn the_user_name_and_its_reverse_are_refused(user in "[a-z][a-zA-Z0-9._-]{6,30}[A-Z0-9]") {
            let reversed: String = user.chars().rev().collect();
            prop_assert_eq!(check(&user, &user), Err(PasswordProblem::UserName));
            prop_assert!(check(&reversed, &user).is_err());
        }
    }
}
