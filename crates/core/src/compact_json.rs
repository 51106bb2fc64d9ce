//! JSON texts that resemble each other, in little memory: each is stored as its difference from an earlier one.

use std::sync::{Arc, Mutex, PoisonError};

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};

/// How often another text becomes the one that others are compared with: texts that use the former one keep it.
const MOST_DICTIONARIES: usize = 8;

/// A text. Clones share the memory.
#[derive(Clone, Debug)]
pub struct CompactJson {
    compressed: Arc<[u8]>,
    like: Arc<Vec<u8>>,
}

impl CompactJson {
    /// The text.
    pub fn text(&self) -> Vec<u8> {
        // It was compressed by this process, so this is no error that can occur.
        decompress_size_prepended_with_dict(&self.compressed, &self.like).unwrap_or_default()
    }

    /// Whether both are the same memory.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compressed, &other.compressed)
    }
}

/// The text that others are compared with.
#[derive(Debug, Default)]
pub struct Dictionary {
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    text: Arc<Vec<u8>>,
    /// How many there were.
    number: usize,
}

impl Dictionary {
    /// Stores a text. If it resembles the present dictionary little, it becomes the dictionary of the next ones: the first
    /// object may lack what nearly all others have.
    pub fn compress(&self, text: &[u8]) -> CompactJson {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let mut compressed = compress_prepend_size_with_dict(text, &present.text);
        if compressed.len() > text.len() / 2 && present.number < MOST_DICTIONARIES {
            present.text = Arc::new(text.to_vec());
            present.number += 1;
            compressed = compress_prepend_size_with_dict(text, &present.text);
        }
        CompactJson {
            compressed: compressed.into(),
            like: Arc::clone(&present.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(number: usize, condition: &str) -> String {
        let address = format!("10.0.{}.{}", number / 256, number % 256);
        format!(
            r#"{{"metadata":{{"name":"office-{number}","namespace":"team","generation":1}},"spec":{{"idValue":"{address}"}},
            "status":{{"conditions":[{{"type":"Ready","status":"True","message":"{condition}"}}]}}}}"#
        )
    }

    #[test]
    fn texts_like_an_earlier_one_take_a_third_of_their_length() {
        let dictionary = Dictionary::default();
        dictionary.compress(b"{}");
        let (mut length, mut compressed) = (0, 0);
        for number in 0..100 {
            let text = object(number, "the customer gateway is in the cloud as specified");
            let stored = dictionary.compress(text.as_bytes());
            assert_eq!(stored.text(), text.as_bytes());
            length += text.len();
            compressed += stored.compressed.len();
        }
        assert!(compressed * 3 < length, "{compressed} of {length}");
    }

    #[test]
    fn dictionaries_do_not_multiply() {
        let dictionary = Dictionary::default();
        let texts: Vec<String> = (0..100)
            .map(|number| format!("{:x}", (number + 7_u128).pow(18)))
            .collect();
        let stored: Vec<CompactJson> = texts.iter().map(|text| dictionary.compress(text.as_bytes())).collect();
        for (text, stored) in texts.iter().zip(&stored) {
            assert_eq!(stored.text(), text.as_bytes());
        }
        let mut dictionaries: Vec<_> = stored.iter().map(|stored| Arc::as_ptr(&stored.like)).collect();
        dictionaries.dedup();
        assert!(dictionaries.len() <= MOST_DICTIONARIES, "{}", dictionaries.len());
    }

    proptest! {
        #[test]
        fn every_text_is_given_back(texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let dictionary = Dictionary::default();
            let stored: Vec<CompactJson> = texts.iter().map(|text| dictionary.compress(text)).collect();
            for (text, stored) in texts.iter().zip(stored) {
                prop_assert_eq!(&stored.text(), text);
            }
        }
    }
}
