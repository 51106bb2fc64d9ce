//! From what is known to what nobody has thought of: an input is taken from the corpus and changed a few times, as bytes or,
//! where it ends in JSON, as a tree.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// No input gets longer than this: what is larger is the matter of the tests with huge answers.
const LONGEST: usize = 128 * 1024;
/// Pieces that mean something to one parser or another.
const PIECES: [&str; 56] = [
    "\n",
    "\r\n",
    "\n\n",
    "\0",
    "\u{1b}[2J",
    "\u{9b}",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "\u{e0041}",
    "é",
    "🜂",
    "…",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    ":",
    ",",
    ";",
    "=",
    "%",
    "%2f",
    "%00",
    "..",
    "/",
    "@",
    "#",
    "?",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "9223372036854775807",
    "{{secret}}",
    "VPN.0001",
    "APIGW.0101",
    "VPN.0030",
    "has connection",
    "not exist",
    "try again later",
    "Duplicate",
    "quota",
    "password",
    "Retry-After: ",
    "Status: ",
    "https://",
    "http://",
    "-----BEGIN CERTIFICATE-----",
    "PRIVATE KEY-----",
    "<title>",
];

/// Makes inputs; the same ones for the same seed.
pub(crate) struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    random: StdRng,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(corpus: &'a [Vec<u8>], seed: u64) -> Self {
        Self {
            corpus,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// The next input.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        let mut input = self.any_of_corpus();
        for _ in 0..self.random.random_range(1..6) {
            input = if self.random.random_bool(0.4) {
                self.change_tree(&input).unwrap_or(input)
            } else {
                self.change_bytes(input)
            };
        }
        input.truncate(LONGEST);
        input
    }

    fn any_of_corpus(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        self.corpus.get(at).cloned().unwrap_or_default()
    }

    /// A number below `end`, and 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end.max(1))
    }

    fn piece(&mut self) -> &'static str {
        PIECES[self.below(PIECES.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = (length - start).min(64);
        start..start + self.below(most + 1)
    }

    fn change_bytes(&mut self, mut input: Vec<u8>) -> Vec<u8> {
        let range = self.range(input.len());
        match self.below(8) {
            0 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] ^= 1 << self.below(8);
            }
            1 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] = self.random.random();
            }
            2 => drop(input.drain(range)),
            3 => {
                let part = input[range.clone()].to_vec();
                let times = self.below(4) + 1;
                input.splice(range, part.repeat(times + 1));
            }
            4 => {
                let other = self.any_of_corpus();
                let (from, to) = (self.below(other.len() + 1), self.below(input.len() + 1));
                input.truncate(to);
                input.extend_from_slice(&other[from..]);
            }
            5 => input.truncate(range.start),
            6 => {
                let (piece, times) = (self.piece(), 1 << self.below(11));
                input.splice(range.start..range.start, piece.repeat(times).into_bytes());
            }
            _ => drop(input.splice(range, self.piece().bytes())),
        }
        input
    }

    /// `None` if there is no JSON at the end.
    fn change_tree(&mut self, input: &[u8]) -> Option<Vec<u8>> {
        let body = input.windows(2).position(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
        let mut tree: Value = serde_json::from_slice(&input[body..]).ok()?;
        let mut left = self.below(count(&tree));
        let odd = self.odd();
        let rename = self.random.random_bool(0.2).then(|| self.piece().to_owned());
        change(&mut tree, &mut left, &odd, rename.as_deref());
        let mut changed = input[..body].to_vec();
        changed.extend(serde_json::to_vec(&tree).ok()?);
        Some(changed)
    }

    /// A value that does not belong where it will stand.
    fn odd(&mut self) -> Value {
        let (piece, times) = (self.piece(), 1 << self.below(13));
        match self.below(12) {
            0 => Value::Null,
            1 => json!(""),
            2 => json!([]),
            3 => json!({}),
            4 => json!(true),
            5 => json!(self.random.random::<i64>()),
            6 => json!(self.random.random::<f64>() * 1e300),
            7 => json!(piece),
            8 => json!(piece.repeat(times)),
            9 => (0..self.below(200)).fold(json!(piece), |inner, _| json!([inner])),
            10 => (0..self.below(200)).fold(json!(piece), |inner, _| json!({"error": inner})),
            _ => json!(vec![json!({"id": piece}); self.below(300)]),
        }
    }
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// Puts `odd` in the place of the node that comes after `left` others, or beside it under another name.
fn change(tree: &mut Value, left: &mut usize, odd: &Value, rename: Option<&str>) {
    if *left == 0 {
        *tree = odd.clone();
    }
    *left = left.wrapping_sub(1);
    match tree {
        Value::Array(items) => {
            for item in items {
                if *left == usize::MAX {
                    return;
                }
                change(item, left, odd, rename);
            }
        }
        Value::Object(fields) => {
            if let (Some(name), 1) = (rename, *left) {
                fields.insert(name.to_owned(), odd.clone());
            }
            for field in fields.values_mut() {
                if *left == usize::MAX {
                    return;
                }
                change(field, left, odd, rename);
            }
        }
        _ => {}
    }
}
