//! The words that people read: terms of Kubernetes and of the cloud's API, in plain English. The lists below hold phrases
//! and words of names that this project does not use, each with the words to use instead. Terms of our own:
//! docs/glossary.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use regex::Regex;

/// Files and directories to check.
const ROOTS: &[Root] = &[
    root("README.md", &["md"], Text::Markdown),
    root("CHANGELOG.md", &["md"], Text::Markdown),
    root("CONTRIBUTING.md", &["md"], Text::Markdown),
    root("SECURITY.md", &["md"], Text::Markdown),
    root("docs", &["md"], Text::Markdown),
    root("examples", &["yaml"], Text::Plain),
    root("charts", &["md"], Text::Markdown),
    root("charts", &["yaml", "tpl", "txt", "json"], Text::Plain),
    root("crds", &["yaml"], Text::Plain),
    root("deploy", &["lua", "yaml"], Text::Plain),
    root("Dockerfile", &[""], Text::Plain),
    root("image", &[""], Text::Plain),
    root(".ci", &[""], Text::Plain),
    root(".cargo", &["toml"], Text::Plain),
    root("Cargo.toml", &["toml"], Text::Plain),
    root("deny.toml", &["toml"], Text::Plain),
    root("crates", &["toml"], Text::Plain),
    root("tests", &["toml", "go", "py", "sh"], Text::Plain),
    root("crates", &["rs"], Text::Rust),
    root("src", &["rs"], Text::Rust),
    root("tests", &["rs"], Text::Rust),
    root("programs", &["rs"], Text::Rust),
];

/// The phrases themselves, and the chart of an earlier version.
const EXCEPT: &[&str] = &["tests/language.rs", "tests/cluster/chart/earlier"];

/// A phrase to avoid, as a regular expression, and the words to use instead.
const PHRASES: &[(&str, &str)] = &[
    // Drift and recreation.
    (r"mend(s|ed|ing)?", "correct, update, repair"),
    (r"puts? (it |them )?back|made good", "correct, restore"),
    (r"anew", "again; recreate"),
    (r"ma(de|kes?|king) again", "recreate"),
    (r"look(s|ed|ing)? (at|for|after)|a look", "read, list, search, check"),
    (r"drift polls?|looks? for drift", "drift check"),
    (
        r"(make|makes|made|making) (a|an|the|another) (new |second )?(gateway|user|object)s?",
        "create",
    ),
    // Owners.
    (r"strangers?('s)?", "unmanaged"),
    (r"nobody's", "unmanaged"),
    (
        r"somebody( else)?('s)?|everybody('s)?|anybody('s)?",
        "someone, everyone, anyone; owned by another object",
    ),
    (r"who(ever|mever)", "anyone who, users who"),
    (r"whose (it|a|an|they) (is|are|user|gateway)", "owner"),
    (r"ownership tags?", "owner tag"),
    // Reports.
    (r"tells|told|telling", "reports, logs, sets the condition, shows"),
    (r"says? so|said so", "reports it"),
    (r"in (the|its|your) words( of)?", "message"),
    (r"on record|announced", "recorded"),
    (r"(left|leaves?|leaving) out", "omitted, unset; \"defaults to\""),
    (r"a person|asks? for a person", "requires user action; a user"),
    // Ends.
    (
        r"(is|are|was|were|be|been|has|have|had) (really )?gone",
        "is deleted, no longer exists",
    ),
    (r"vanish(es|ed|ing)?", "is deleted, disappears"),
    (r"lets? (it|them|the objects?) go|let go", "finalizer removed; releases"),
    (r"comes? to nothing", "has no effect, fails"),
    (r"go(es)? on|going on", "continues"),
    // Parts of the operator.
    (r"lanes?", "write queue"),
    (r"mirror(s|ed)?", "cache"),
    (r"budgets?", "rate limiter"),
    (r"(single|in) flight|under way", "in progress"),
    (r"settle times?", "confirmation period"),
    (r"operator's own credentials", "default credentials"),
    (r"rooms|the house", "modules, architecture"),
    (r"wak(e|es|en)( up)?|woken?|kicks?", "enqueues, is requeued"),
    (r"(a|each|the|its|one) pass", "reconciliation"),
    (r"hands off", "reconciliation is paused"),
    // Users and permissions.
    (r"dial(s|ed|ing)? in|(one|he|she) who signs in", "remote-access user"),
    (r"cannot be changed", "is immutable"),
    (r"rights", "permissions (cloud), RBAC (cluster)"),
    // Personified code.
    (
        r"has the last word|is asked nothing|its turn",
        "name the subject and what it does",
    ),
    (r"shall", "must, will"),
    (r"for ever", "forever"),
    // One spelling, as in Kubernetes.
    (
        r"behaviours?|honour(s|ed)?|colours?|recognis\w+|centres?|licences?|normalis\w+|cancelled",
        "American spelling",
    ),
];

/// Words to avoid in names of Rust code and of its files, as a regular expression over the words of a name with spaces
/// between them, and the words to use instead.
const NAMES: &[(&str, &str)] = &[
    // Drift and recreation.
    (r"mend(s|ed|ing)?|put back|made good", "correct, restore"),
    (r"anew|come again|come to rest|comes", "fresh, recreate, requeue"),
    (r"looks?|looked", "query, read, list, check"),
    (r"want", "request"),
    // Owners and users.
    (r"strangers?|strays?|nobody", "unmanaged"),
    (r"twins?|rivals?", "duplicate, competing"),
    (
        r"somebody|everybody|anybody|who(ever|mever|se)",
        "name the owner or the user",
    ),
    (r"persons?", "user action"),
    (r"living", "existing"),
    (r"dial(s|ed|ing)? in", "remote-access user"),
    (r"rights", "permissions"),
    // Reports.
    (r"told|untold|tells?|said|says?|saying", "report, record, show, contain"),
    (r"announc(e|es|ed|ing|ements?)|on record", "record, recorded"),
    (r"left out", "omitted"),
    (r"troubl(e|es|ed)", "failure, failed"),
    // Ends.
    (r"gone|vanish(es|ed|ing|ings)?", "deleted, absent, disappeared"),
    (r"let go", "released"),
    (r"(un)?settl(e|es|ed|ing)", "confirmation period, confirmed, resolved"),
    // Parts of the operator.
    (r"grants?|(next|my|its) turn", "permit"),
    (r"lanes?", "write queue"),
    (r"budgets?", "rate limiter"),
    (r"flights?|under ?way", "request, in progress"),
    (
        r"mirror(s|ed)?|curio(us|sity)|bury|buried|fellows?",
        "cache, watcher, tombstone",
    ),
    (r"homes?|homeless", "parent, operator namespace"),
    (r"rooms|house", "modules, architecture"),
    (r"wakes|waker|woken|kicks?", "enqueue, requeue"),
    (r"hands off", "paused"),
    // Tests.
    (r"moods?", "response"),
    (r"deeds?", "action"),
    // One spelling, as in Kubernetes.
    (
        r"behaviours?|honour(s|ed)?|colours?|recognis\w+|centres?|licences?|normalis\w+|labelled",
        "American spelling",
    ),
];

/// Names that have such a word for a reason: where they are, the words, and the reason.
const EXCEPT_NAMES: &[(&str, &str, &str)] = &[
    ("", "^gone$", "the kind of an error, after the HTTP status"),
    ("", "look up|look like", "verbs: to look up a project"),
    (
        "crates/simulator",
        "vanish|settl",
        "documented names of faults and switches",
    ),
    (
        "tests/simulator",
        "vanish|settl",
        "documented names of faults and switches",
    ),
    ("tests/cluster", "grant", "RBAC and IAM grant permissions"),
    ("tests/cluster/chart", "budget", "a PodDisruptionBudget"),
    ("tests/testbed", "home", "the home directory"),
];

/// How the words of a file are found.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// Without code, except for the comments in it.
    Markdown,
    /// Every line.
    Plain,
    /// Comments and string literals.
    Rust,
}

#[derive(Clone, Copy, Debug)]
struct Root {
    path: &'static str,
    extensions: &'static [&'static str],
    text: Text,
}

const fn root(path: &'static str, extensions: &'static [&'static str], text: Text) -> Root {
    Root { path, extensions, text }
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a root, relative to the project.
fn files(root: &Root) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left = vec![PathBuf::from(root.path)];
    while let Some(path) = left.pop() {
        if EXCEPT.iter().any(|except| path.starts_with(except)) {
            continue;
        }
        let whole = project().join(&path);
        if whole.is_dir() {
            let entries = std::fs::read_dir(&whole).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            left.extend(entries.map(|entry| path.join(entry.expect("a readable directory").file_name())));
        } else {
            let extension = path.extension().unwrap_or_default().to_str().unwrap_or_default();
            if root.extensions.contains(&extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The lines of a file with what people read in them, without inline code. Other lines are empty.
fn prose(text: &str, kind: Text) -> Vec<String> {
    let lines = match kind {
        Text::Plain => text.lines().map(str::to_owned).collect(),
        Text::Markdown => markdown(text),
        Text::Rust => rust(text),
    };
    lines.iter().map(|line| without_code(line)).collect()
}

/// Fenced blocks count by their comments only: commands and output quote the programs.
fn markdown(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let comment = || line.find("# ").map_or("", |at| &line[at..]);
        lines.push(match (fenced, fence) {
            (_, true) => String::new(),
            (true, false) => comment().to_owned(),
            (false, false) => line.to_owned(),
        });
    }
    lines
}

/// Comments and string literals, the latter over several lines, too.
fn rust(text: &str) -> Vec<String> {
    let mut in_string = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut kept = String::new();
        let mut rest = line.chars().peekable();
        while let Some(character) = rest.next() {
            match (in_string, character) {
                (true, '\\') => {
                    rest.next();
                    kept.push(' ');
                }
                (_, '"') => {
                    in_string = !in_string;
                    kept.push(' ');
                }
                (true, character) => kept.push(character),
                // A character literal of a quotation mark opens no string.
                (false, '\'') if rest.peek() == Some(&'"') => {
                    rest.next();
                }
                (false, '/') if rest.peek() == Some(&'/') => kept.extend(rest.by_ref()),
                (false, _) => {}
            }
        }
        lines.push(kept);
    }
    lines
}

/// Inline code names things of the program, which have other rules.
fn without_code(line: &str) -> String {
    let parts = line.split('`').step_by(2);
    parts.collect::<Vec<_>>().join("``")
}

/// The phrases to avoid, ready to search for.
struct Phrases {
    /// One search for all of them, since most lines have none.
    any: Regex,
    each: Vec<(Regex, &'static str)>,
}

impl Phrases {
    fn new() -> Self {
        let compiled = |phrase: &str| {
            let pattern = format!(r"(?i)(^|[^\w-])({phrase})($|[^\w-])");
            Regex::new(&pattern).unwrap_or_else(|error| panic!("{phrase}: {error}"))
        };
        let all: Vec<&str> = PHRASES.iter().map(|(phrase, _)| *phrase).collect();
        Self {
            any: compiled(&all.join("|")),
            each: PHRASES
                .iter()
                .map(|(phrase, instead)| (compiled(phrase), *instead))
                .collect(),
        }
    }

    /// The first phrase to avoid in a line, and the words to use instead.
    fn find(&self, line: &str) -> Option<(String, &'static str)> {
        if !self.any.is_match(line) {
            return None;
        }
        self.each.iter().find_map(|(phrase, instead)| {
            let captures = phrase.captures(line)?;
            Some((captures[2].to_owned(), *instead))
        })
    }
}

#[test]
fn no_text_contains_a_phrase_to_avoid() {
    let phrases = Phrases::new();
    let (mut report, mut read) = (String::new(), 0);
    for root in ROOTS {
        let files = files(root);
        assert!(!files.is_empty(), "{root:?} has no files");
        for path in files {
            let text = std::fs::read_to_string(project().join(&path))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for (number, line) in prose(&text, root.text).iter().enumerate() {
                read += usize::from(!line.trim().is_empty());
                if let Some((phrase, instead)) = phrases.find(line) {
                    writeln!(report, "{}:{}: \"{phrase}\": use {instead}", path.display(), number + 1)
                        .expect("a String takes everything");
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert!(read > 3_000, "only {read} lines were read");
}

/// The words of a name, in lower case: `parse_HTTPHeader2` has `parse http header2`.
fn words(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut words = String::new();
    for (at, character) in characters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| characters[at]);
        let is_lower = |character: Option<char>| character.is_some_and(|character| !character.is_uppercase());
        let begins = character.is_uppercase()
            && (is_lower(before) || characters.get(at + 1).is_some_and(|next| next.is_lowercase()));
        if !character.is_alphanumeric() || begins {
            words.push(' ');
        }
        words.extend(character.to_lowercase().filter(|character| character.is_alphanumeric()));
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Adds the names in code. A token stream has no comments, and strings are literals.
fn collect_names(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect_names(group.stream(), names),
            TokenTree::Ident(name) => drop(names.insert(name.to_string())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The names in each Rust file, and in its path.
fn all_names() -> Vec<(PathBuf, BTreeSet<String>)> {
    let rust = ROOTS.iter().filter(|root| matches!(root.text, Text::Rust));
    let names = rust.flat_map(files).map(|path| {
        let place = path.display();
        let text = std::fs::read_to_string(project().join(&path)).unwrap_or_else(|error| panic!("{place}: {error}"));
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{place}: {error}"));
        let mut names: BTreeSet<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        collect_names(tokens, &mut names);
        (path, names)
    });
    names.collect()
}

/// The words to avoid in names, ready to search for.
struct Names {
    each: Vec<(Regex, &'static str)>,
    except: Vec<(&'static str, Regex)>,
}

impl Names {
    fn new() -> Self {
        let compiled = |words: &str| {
            let pattern = format!("(?:^| )(?:{words})(?:$| )");
            Regex::new(&pattern).unwrap_or_else(|error| panic!("{words}: {error}"))
        };
        let except = EXCEPT_NAMES.iter().map(|(path, words, reason)| {
            let words = Regex::new(words).unwrap_or_else(|error| panic!("{reason}: {error}"));
            (*path, words)
        });
        Self {
            each: NAMES
                .iter()
                .map(|(words, instead)| (compiled(words), *instead))
                .collect(),
            except: except.collect(),
        }
    }

    /// The words to use instead of those of this name.
    fn find(&self, path: &Path, name: &str) -> Option<&'static str> {
        let words = words(name);
        let (_, instead) = self.each.iter().find(|(word, _)| word.is_match(&words))?;
        let is_exception = self
            .except
            .iter()
            .any(|(folder, word)| path.starts_with(folder) && word.is_match(&words));
        (!is_exception).then_some(instead)
    }
}

#[test]
fn no_name_contains_a_word_to_avoid() {
    let names = Names::new();
    let (mut report, mut read) = (String::new(), 0);
    for (path, found) in all_names() {
        read += found.len();
        for name in found {
            if let Some(instead) = names.find(&path, &name) {
                writeln!(report, "{}: `{name}`: use {instead}", path.display()).expect("a String takes everything");
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
    assert!(read > 20_000, "only {read} names were read");
}

#[test]
fn names_are_split_into_words() {
    for (name, expected) in [
        ("parse_HTTPHeader2", "parse http header2"),
        ("NameOfStranger", "name of stranger"),
        ("MAX_GETS", "max gets"),
        ("write_queues.rs", "write queues rs"),
        ("r#type", "r type"),
    ] {
        assert_eq!(words(name), expected);
    }
}

#[test]
fn words_to_avoid_are_found_in_names_of_code_only() {
    let code = r#"
        /// Told.
        fn is_told(stranger: Told) { let text = "told"; println!("{}", lane); } // told
    "#;
    let mut found = BTreeSet::new();
    collect_names(code.parse().expect("tokens"), &mut found);
    let names = Names::new();
    let mut hits = |path: &str| -> Vec<String> {
        let path = Path::new(path);
        found.extend(["vanish_fault", "look_up", "PlaneSettings", "Gone"].map(str::to_owned));
        let hits = found.iter().filter(|name| names.find(path, name).is_some());
        hits.cloned().collect()
    };
    assert_eq!(
        hits("src/a.rs"),
        ["Told", "is_told", "lane", "stranger", "vanish_fault"]
    );
    assert_eq!(
        hits("crates/simulator/src/a.rs"),
        ["Told", "is_told", "lane", "stranger"]
    );
}

/// An exception without a name would hide a new one.
#[test]
fn each_exception_of_a_name_is_used() {
    let unlimited = Names {
        except: Vec::new(),
        ..Names::new()
    };
    let all = all_names();
    for (folder, word, reason) in EXCEPT_NAMES {
        let word = Regex::new(word).expect("a pattern");
        let is_used = all.iter().any(|(path, found)| {
            let needs_it = |name: &String| unlimited.find(path, name).is_some() && word.is_match(&words(name));
            path.starts_with(folder) && found.iter().any(needs_it)
        });
        assert!(is_used, "no name in {folder:?} has {word}: {reason}");
    }
}

#[test]
fn phrases_are_found_in_prose_comments_and_strings_but_not_in_code() {
    let phrases = Phrases::new();
    let hits = |text: &str, kind: Text| {
        let lines = prose(text, kind);
        lines.iter().filter(|line| phrases.find(line).is_some()).count()
    };
    for (text, expected) in [
        ("Drift is mended.", 1),
        ("The recommended value", 0),
        ("`mended`", 0),
        ("```console\n$ mended\n$ true   # mended\n```\nmended", 2),
    ] {
        assert_eq!(hits(text, Text::Markdown), expected, "{text}");
    }
    for (text, expected) in [
        ("let mended = 1;", 0),
        ("let a = 1; // Mended.", 1),
        ("let text = \"a \\\" mended\";", 1),
        ("let text = \"first \\\n    mended\"; let mended = 1;", 1),
        ("let quote = '\"'; let mended = 1;", 0),
    ] {
        assert_eq!(hits(text, Text::Rust), expected, "{text}");
    }
}

#[test]
fn replacements_contain_no_phrase_to_avoid() {
    let phrases = Phrases::new();
    for (_, instead) in PHRASES.iter().chain(NAMES) {
        assert_eq!(phrases.find(instead), None, "{instead}");
    }
}
