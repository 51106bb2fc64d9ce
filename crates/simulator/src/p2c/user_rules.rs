//! What the cloud takes as fields of a user.

use std::net::Ipv4Addr;

use crate::p2c::cidr::Cidr;

/// No user may have these names, whatever their case.
const RESERVED: [&str; 5] = ["link", "cascade", "securenat", "localbridge", "administrator"];

const RESERVED_START: &str = "l3sw_";

const SPECIALS: &str = "`~!@#$%^&*()-_=+\\|[{}];:'\",<.>/? ";

/// 4 to 32 letters, digits, `. _ -`, and no name of the system's own.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !(4..=32).contains(&name.len()) || !name.chars().all(fits) {
        return Err("User name must be 4 to 32 letters, digits, periods, underscores and hyphens.");
    }
    let lower = name.to_ascii_lowercase();
    match RESERVED.contains(&lower.as_str()) || lower.starts_with(RESERVED_START) {
        true => Err("User name is reserved by the system."),
        false => Ok(()),
    }
}

/// 8 to 32 characters of two kinds, and not the name in either direction.
pub(crate) fn check_password(password: &str, user_name: &str) -> Result<(), &'static str> {
    if !(8..=32).contains(&password.chars().count()) {
        return Err("Password length invalid.");
    }
    let is_special = |c: char| SPECIALS.contains(c);
    if !password.chars().all(|c| c.is_ascii_alphanumeric() || is_special(c)) {
        return Err("Password contains an invalid character.");
    }
    let kinds = [
        password.contains(|c: char| c.is_ascii_uppercase()),
        password.contains(|c: char| c.is_ascii_lowercase()),
        password.contains(|c: char| c.is_ascii_digit()),
        password.contains(is_special),
    ];
    if kinds.into_iter().filter(|has| *has).count() < 2 {
        return Err(
            "Password must contain at least two of upper-case letters, lower-case letters, digits and \
                    special characters.",
        );
    }
    match password == user_name || password.chars().rev().eq(user_name.chars()) {
        true => Err("Password cannot be the user name or the user name in reverse."),
        false => Ok(()),
    }
}

/// At most 64 characters.
pub(crate) fn check_description(description: &str) -> Result<(), &'static str> {
    match description.chars().count() <= 64 {
        true => Ok(()),
        false => Err("description must have at most 64 characters"),
    }
}

/// The first host of a /30 among the addresses for clients, but not the server's own.
pub(crate) fn check_static_ip(text: &str, client_cidr: Cidr) -> Result<(), String> {
    let Ok(address) = text.parse::<Ipv4Addr>() else {
        return Err(format!("static_ip {text:?} is neither an IPv4 address nor \"disable\""));
    };
    if !client_cidr.contains(address) {
        return Err(format!("static_ip {text} is not in client_cidr {client_cidr}"));
    }
    if address == client_cidr.gateway() {
        return Err(format!("static_ip {text} is the address of the VPN server"));
    }
    match address.octets()[3] % 4 {
        1 => Ok(()),
        _ => Err(format!("static_ip {text} is not the first host of a /30 subnet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_validated() {
        for name in ["abcd", "alice.dev", "A_-.", "x".repeat(32).as_str(), "link1", "l3sw"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "abc",
            &"x".repeat(33),
            "alice dev",
            "älice",
            "",
            "LINK",
            "Cascade",
            "L3SW_1",
            "l3sw_",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn passwords_are_validated() {
        for password in [
            "abcdefg1",
            "ABCDEFGh",
            "abc def \"\\",
            &"1a".repeat(16),
            "`~!@#$%^&*()-_=+1",
            "|[{}];:',<.>/? a",
        ] {
            assert_eq!(check_password(password, "alice"), Ok(()), "{password}");
        }
        for password in [
            "abcdef1",
            &"1a".repeat(17),
            "abcdefgh",
            "12345678",
            "abcdefg1ä",
            "abcdefg1\t",
        ] {
            assert!(check_password(password, "alice").is_err(), "{password}");
        }
        assert!(check_password("alice.dev1", "alice.dev1").is_err());
        assert!(check_password("1ved.ecila", "alice.dev1").is_err());
    }

    #[test]
    fn a_static_ip_must_be_the_first_host_of_a_slash_30_subnet() {
        let cidr = "192.168.10.0/24".parse().unwrap();
        assert_eq!(check_static_ip("192.168.10.5", cidr), Ok(()));
        for (text, words) in [
            ("192.168.10.1", "the VPN server"),
            ("192.168.10.6", "/30"),
            ("192.168.11.5", "client_cidr"),
            ("off", "disable"),
            ("", "disable"),
        ] {
            let error = check_static_ip(text, cidr).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
