//! A name server on loopback, since containers find the cloud by name. It answers every query for an IPv4 address with
//! loopback, and all others with an empty answer. It also tests that a static program in an empty image can resolve names.

use std::net::{Ipv4Addr, UdpSocket};

use crate::Failure;

/// A loopback address that no local name server uses.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 53, 53);
const PORT: u16 = 53;

const HEADER: usize = 12;
/// Response, no error, recursion available.
const FLAGS: [u8; 2] = [0x81, 0x80];
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 0x0c];
const IPV4_OF_INTERNET: [u8; 4] = [0, 1, 0, 1];
/// Seconds.
const LIFETIME: [u8; 4] = [0, 0, 0, 5];

/// Answers until this process exits.
///
/// # Errors
/// If the port cannot be bound, which needs root.
pub(crate) fn serve() -> Result<(), Failure> {
    let socket = UdpSocket::bind((ADDRESS, PORT)).map_err(|error| format!("no name server on {ADDRESS}: {error}"))?;
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut question) {
            if let Some(answer) = answer(&question[..length]) {
                // The client retries if the response is lost.
                let _ = socket.send_to(&answer, asker);
            }
        }
    });
    Ok(())
}

/// The response to a message with one question; none for anything else.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let mut end = HEADER;
    while *message.get(end)? != 0 {
        end += usize::from(message[end]) + 1;
    }
    // The end of the name, type and class.
    let question = message.get(HEADER..end + 5)?;
    let answers = u8::from(question.ends_with(&IPV4_OF_INTERNET));
    let mut answer = message[..2].to_vec();
    answer.extend(FLAGS);
    answer.extend([0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(question);
    if answers > 0 {
        answer.extend(POINTER_TO_QUESTION);
        answer.extend(IPV4_OF_INTERNET);
        answer.extend(LIFETIME);
        answer.extend([0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}
