//! The direction of the modules: a module imports only modules below it. `LAYERS` begins at the bottom. Tests inside a
//! file may import anything. `docs/contributing/design.md` explains the layers. Also: sizes of files and functions, and
//! names of types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use regex::Regex;

/// A crate: its folder, the crates that it may import, and its modules from the bottom up. A module is a file or a folder.
struct Crate {
    name: &'static str,
    folder: &'static str,
    imports: &'static [&'static str],
    modules: &'static [&'static str],
}

const LAYERS: &[Crate] = &[
    Crate {
        name: "vpn_cloud",
        folder: "crates/cloud/src",
        imports: &[],
        modules: &[
            "text",
            "values",
            "regions",
            "credentials",
            "error",
            "limits",
            "lists",
            "http",
            "resources",
            "parsing",
        ],
    },
    Crate {
        name: "vpn_simulator",
        folder: "crates/simulator/src",
        imports: &["vpn_cloud"],
        modules: &[
            "tryout",
            "switches",
            "refusal",
            "operations",
            "connection",
            "auth",
            "clock",
            "ids",
            "calls",
            "paging",
            "certificates",
            "secret_fields",
            "p2c/cidr",
            "p2c/server_values",
            "p2c/admin",
            "admin",
            "access",
            "request_log",
            "faults",
            "holds",
            "rate_limit",
            "gateway_rules",
            "gateway_store",
            "p2c/codes",
            "p2c/user_rules",
            "p2c/stores",
            "settings",
            "state",
            "iam",
            "gateways",
            "tags",
            "quotas",
            "p2c/handlers",
            "dispatch",
            "desk",
            "reply",
            "api",
            "admin_http",
            // What remains in the folder: endpoints of the admin API.
            "p2c",
            "admin_api",
            "server",
        ],
    },
    Crate {
        name: "vpn_core",
        folder: "crates/core/src",
        imports: &["vpn_cloud"],
        modules: &[
            "compact_json",
            "compact_set",
            "spare_capacity",
            "write_order",
            "api",
            "owner_tag",
            "cache",
            "terms",
            "kind",
            "object",
            "object_state",
            "observe",
            "decide",
            "ledger",
            "kinds",
            "model",
        ],
    },
    Crate {
        name: "vpn_operator",
        folder: "src",
        imports: &["vpn_cloud", "vpn_core"],
        modules: &[
            "error_chain",
            "settings",
            "metrics",
            "web",
            "telemetry",
            "probe",
            "kubernetes",
            "leader",
            "reconcile/k8s",
            "reconcile/session",
            "reconcile/state",
            "reconcile/provider",
            "reconcile/kinds",
            "reconcile/pipeline",
            "operator",
            "wiring",
            "shell_tests",
        ],
    },
];

/// Modules that only tests contain: they may import anything.
const TESTS: &[&str] = &["model", "shell_tests"];

/// In 29 files, at the last commit without an order.
const BEFORE: usize = 123;

/// The most lines of code in a file and in a function, without tests, comments and blank lines.
const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 80;

static DECLARATION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)\buse (crate::[^;]*);").expect("a pattern"));
static INLINE_PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bcrate((?:::\w+)+)").expect("a pattern"));
static RELATIVE_PATH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:self::)?((?:super::)+)|\bself::").expect("a pattern"));
static TEST_MODULE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^#\[cfg\(test\)\]\n(pub(\(crate\))? )?mod \w+ \{").expect("a pattern"));
static FUNCTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*fn (\w+)").expect("a pattern"));

/// A source file without its tests.
struct Source {
    path: PathBuf,
    /// Segments of the module's path.
    module: Vec<String>,
    code: String,
}

#[test]
fn each_module_imports_only_modules_below_it() {
    let mut wrong = Vec::new();
    let mut between = 0;
    for layer in LAYERS {
        println!("{}: {}", layer.name, layer.modules.join(" → "));
        for source in sources(layer) {
            let Some(own) = place(layer, &source.module) else {
                assert!(
                    source.module.is_empty() || source.module == ["reconcile"],
                    "{} is in no layer",
                    source.path.display()
                );
                continue;
            };
            for path in imports(&absolute(&source.code, &source.module)) {
                let Some(other) = place(layer, &path) else {
                    if !TESTS.contains(&layer.modules[own]) {
                        let (from, to) = (source.path.display(), path.join("::"));
                        wrong.push(format!("{from} imports crate::{to}: name its module"));
                    }
                    continue;
                };
                between += usize::from(other != own);
                if other > own && !TESTS.contains(&layer.modules[own]) {
                    let (from, to) = (source.path.display(), path.join("::"));
                    wrong.push(format!(
                        "{from} imports crate::{to}: {} is above it",
                        layer.modules[other]
                    ));
                }
            }
        }
    }
    println!(
        "{between} imports between modules, {} of them against the direction; before there was an order, {BEFORE} of the \
         imports within src/reconcile were part of one circle",
        wrong.len()
    );
    assert!(between > 300, "too few imports found: {between}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Within a module, too: each file can be read with only those that it imports. An import of what `mod.rs` re-exports counts
/// as one of `mod.rs`.
#[test]
fn no_files_import_each_other_in_a_circle() {
    for layer in LAYERS {
        let mut left: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
        let sources: Vec<Source> = sources(layer).into_iter().filter(is_shipped).collect();
        let modules: BTreeSet<&Vec<String>> = sources.iter().map(|source| &source.module).collect();
        for source in &sources {
            let mut imported = imports(&absolute(&named_children(source, &modules), &source.module));
            for path in &mut imported {
                while !modules.contains(path) && path.pop().is_some() {}
            }
            let others = imported.into_iter().filter(|path| *path != source.module);
            left.insert(source.module.clone(), others.collect());
        }
        let files = left.len();
        let imports: usize = left.values().map(BTreeSet::len).sum();
        // A file is in no circle if all that it imports is in none. What imports a circle remains as well.
        while let Some(done) = left
            .iter()
            .find(|(_, imported)| imported.is_empty())
            .map(|(file, _)| file.clone())
        {
            left.remove(&done);
            for imported in left.values_mut() {
                imported.remove(&done);
            }
        }
        println!(
            "{}: {imports} imports between {files} files, {} files in or above circles",
            layer.name,
            left.len()
        );
        let name = |path: &Vec<String>| path.join("::");
        let circle: Vec<String> = left
            .iter()
            .map(|(file, imported)| {
                format!(
                    "{} imports {}",
                    name(file),
                    imported.iter().map(name).collect::<Vec<_>>().join(", ")
                )
            })
            .collect();
        assert!(circle.is_empty(), "{}:\n{}", layer.name, circle.join("\n"));
        assert!(imports > files, "too few imports found: {imports}");
    }
}

/// The code with paths that begin with a module inside this one as paths that begin with `self`.
fn named_children(source: &Source, modules: &BTreeSet<&Vec<String>>) -> String {
    let begins = Regex::new(r"\buse (\w+)::").expect("a pattern");
    let named = begins.replace_all(&source.code, |found: &regex::Captures<'_>| {
        let child: Vec<String> = source.module.iter().cloned().chain([found[1].to_owned()]).collect();
        let prefix = if modules.contains(&child) { "self::" } else { "" };
        format!("use {prefix}{}::", &found[1])
    });
    named.into_owned()
}

/// Whether the file is more than a part of the tests.
fn is_shipped(source: &Source) -> bool {
    !source
        .module
        .first()
        .is_some_and(|first| TESTS.contains(&first.as_str()))
}

#[test]
fn each_crate_imports_only_the_crates_below_it() {
    let names: BTreeSet<&str> = LAYERS.iter().map(|layer| layer.name).collect();
    for layer in LAYERS {
        for source in sources(layer).into_iter().filter(is_shipped) {
            for name in names
                .iter()
                .filter(|name| **name != layer.name && !layer.imports.contains(*name))
            {
                // The name in a string is the target of a log line.
                let path = Regex::new(&format!(r#"(?m)(?:^|[^"\w]){name}\b"#)).expect("a pattern");
                assert!(!path.is_match(&source.code), "{} imports {name}", source.path.display());
            }
        }
    }
}

/// A crate of the operator's own that wrote under its own name would be missing in the log: filters name
/// `vpn_operator`, and libraries are capped at info.
#[test]
fn log_lines_of_all_crates_have_the_target_of_the_operator() {
    let line = Regex::new(r"\b(?:trace|debug|info|warn|error)(?:_span)?!\(").expect("a pattern");
    let mut count = 0;
    for layer in LAYERS
        .iter()
        .filter(|layer| ["vpn_cloud", "vpn_core"].contains(&layer.name))
    {
        for source in sources(layer) {
            for found in line.find_iter(&source.code) {
                count += 1;
                let rest = source.code[found.end()..].trim_start();
                let has_target = rest.starts_with("target: \"vpn_operator::");
                assert!(has_target, "{}: {}", source.path.display(), &rest[..rest.len().min(60)]);
            }
        }
    }
    assert!(count > 3, "too few lines found: {count}");
}

#[test]
fn each_module_exists_and_begins_with_its_purpose() {
    for layer in LAYERS {
        for module in layer.modules {
            let folder = project().join(layer.folder).join(module);
            let file = if folder.is_dir() {
                folder.join("mod.rs")
            } else {
                folder.with_extension("rs")
            };
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(
                text.starts_with("//! "),
                "{} does not say what may be in it",
                file.display()
            );
        }
    }
}

/// Longer ones need a reason here.
const LONG_FILES: &[(&str, &str)] = &[];
const LONG_FUNCTIONS: &[(&str, &str)] = &[];

#[test]
fn files_and_functions_are_short() {
    let mut long = BTreeMap::new();
    let mut count = 0;
    for source in LAYERS.iter().flat_map(sources) {
        let relative = source
            .path
            .strip_prefix(project())
            .expect("in the project")
            .display()
            .to_string();
        let lines = source.code.lines().filter(|line| !line.trim().is_empty()).count();
        if lines > LONGEST_FILE && !LONG_FILES.iter().any(|(file, _)| *file == relative) {
            long.insert(relative.clone(), format!("{lines} lines of code"));
        }
        for (name, lines) in functions(&source.code) {
            count += 1;
            let name = format!("{relative} {name}");
            if lines > LONGEST_FUNCTION && !LONG_FUNCTIONS.iter().any(|(function, _)| *function == name) {
                long.insert(name, format!("{lines} lines of code"));
            }
        }
    }
    assert!(count > 1000, "too few functions found: {count}");
    assert!(long.is_empty(), "{long:#?}");
}

/// `switches!` takes the names of types from its input: `field: Name = "switch"`. The types of other macros have their
/// names in the macro itself.
const NAMING_MACRO: &str = "switches";

/// A reader who searches for a name must find one type. An alias within a `use` declaration hides a name that is used
/// twice, so names are unique across crates.
#[test]
fn each_type_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in LAYERS.iter().flat_map(sources_with_programs) {
        let path = source.path.strip_prefix(project()).expect("in the project").display();
        let tokens: TokenStream = source
            .code
            .parse()
            .unwrap_or_else(|error| panic!("{path} cannot be read: {error}"));
        let mut names = Vec::new();
        collect_types(tokens, false, &mut names);
        for name in names {
            places.entry(name).or_default().push(path.to_string());
        }
    }
    let takes_names = places.remove("$").unwrap_or_default();
    assert!(
        takes_names.iter().all(|path| path.ends_with("switches.rs")),
        "a macro takes the names of types from its input, which this test does not read: {takes_names:?}"
    );
    assert!(places.len() > 500, "too few types found: {}", places.len());
    let shared: Vec<String> = places
        .iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name} is defined in {}", places.join(" and in ")))
        .collect();
    assert!(shared.is_empty(), "rename all but one:\n{}", shared.join("\n"));
}

#[test]
fn types_are_found_in_any_layout() {
    let code = r##"
        pub(in crate::a)
        struct
        One<T>(T); /* struct Comment; */ // enum Comment {}
        const TEXT: &str = "struct Text;"; const RAW: &str = r#"enum "Raw" {}"#;
        pub trait Two { type Item; fn f() { struct Three; } }
        unsafe impl Two for One<u8> { #[doc = "x"] pub type Item = u8; fn f() { type Four = u8; } }
        fn g(one: impl Two) -> impl Two { type Five = u8; }
        macro_rules! types { ($name:ident) => { pub enum Six { $name } struct $name; }; }
        switches! { /** struct Comment */ field: Seven = "seven" { First "first", Other "other" } }
        other! { field: NotThis = "text" } mod a { #[derive(Clone)] enum One {} }
    "##;
    let mut names = Vec::new();
    collect_types(code.parse().expect("tokens"), false, &mut names);
    assert_eq!(
        names,
        ["One", "Two", "Three", "Four", "Five", "Six", "$", "Seven", "One"]
    );
}

/// Adds the names of all structs, enums, traits and aliases, local ones included; `$` for a name that a macro takes from
/// its input. `is_body`: these tokens are the body of a trait or an impl, where `type` defines an associated type.
fn collect_types(tokens: TokenStream, is_body: bool, names: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_at = |index: Option<usize>, expected: &str| {
        index
            .and_then(|index| tokens.get(index))
            .is_some_and(|token| token.to_string() == expected)
    };
    let mut body_follows = false;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                if is_at(index.checked_sub(1), "!") && is_at(index.checked_sub(2), NAMING_MACRO) {
                    names.extend(names_of_switches(group.stream()));
                }
                let is_body = group.delimiter() == Delimiter::Brace && std::mem::take(&mut body_follows);
                collect_types(group.stream(), is_body, names);
            }
            TokenTree::Ident(word) => match word.to_string().as_str() {
                "impl" => body_follows |= begins_item(&tokens[..index]),
                "type" if is_body => {}
                keyword @ ("struct" | "enum" | "trait" | "type") => {
                    body_follows |= keyword == "trait";
                    match tokens.get(index + 1) {
                        Some(TokenTree::Ident(name)) => names.push(name.to_string()),
                        Some(TokenTree::Punct(mark)) if mark.as_char() == '$' => names.push("$".to_owned()),
                        _ => {}
                    }
                }
                _ => {}
            },
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether an item can begin after these tokens. Otherwise an `impl` is a type, as in `-> impl Trait`.
fn begins_item(before: &[TokenTree]) -> bool {
    match before.last() {
        None => true,
        // An attribute, or the body of the item before.
        Some(TokenTree::Group(group)) => group.delimiter() != Delimiter::Parenthesis,
        Some(TokenTree::Punct(mark)) => mark.as_char() == ';',
        Some(TokenTree::Ident(word)) => *word == "unsafe",
        Some(TokenTree::Literal(_)) => false,
    }
}

/// The types that `switches!` defines.
fn names_of_switches(input: TokenStream) -> Vec<String> {
    let tokens: Vec<String> = input.into_iter().map(|token| token.to_string()).collect();
    let named = tokens
        .windows(4)
        .filter(|tokens| tokens[0] == ":" && tokens[2] == "=" && tokens[3].starts_with('"'));
    named.map(|tokens| tokens[1].clone()).collect()
}

/// The functions with their lines of code. Relies on the formatter: a body ends at the indentation of its first line.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(captures) = FUNCTION.captures(line) else {
            continue;
        };
        let indent = &captures[1];
        let end = format!("{indent}}}");
        // A declaration without a body ends with a semicolon.
        let ends = |line: &&str| {
            let is_at_margin = line.strip_prefix(indent).is_some_and(|rest| !rest.starts_with(' '));
            *line == end || (is_at_margin && line.ends_with(';'))
        };
        let length = lines[start..].iter().position(ends);
        // One that ends with its first line, or has no body, is short.
        let is_short = line.ends_with(['}', ';']);
        if let (Some(length), false) = (length, is_short) {
            found.push((captures[2].to_owned(), length + 1));
        }
    }
    found
}

/// The index of the module that contains a path.
fn place(layer: &Crate, path: &[String]) -> Option<usize> {
    layer.modules.iter().position(|module| {
        let segments: Vec<&str> = module.split('/').collect();
        path.len() >= segments.len() && segments.iter().zip(path).all(|(one, other)| one == other)
    })
}

/// The paths within the crate that the code names, in `use` declarations and elsewhere, without `crate`.
fn imports(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for captures in DECLARATION.captures_iter(code) {
        expand(&mut Vec::new(), &captures[1], &mut found);
    }
    let rest = DECLARATION.replace_all(code, "");
    for captures in INLINE_PATH.captures_iter(&rest) {
        found.push(captures[1].split("::").skip(1).map(str::to_owned).collect());
    }
    for path in &mut found {
        if path.first().is_some_and(|first| first == "crate") {
            path.remove(0);
        }
    }
    found
}

/// Writes paths that are relative to the module as paths from the root of the crate.
fn absolute(code: &str, module: &[String]) -> String {
    let rewritten = RELATIVE_PATH.replace_all(code, |found: &regex::Captures<'_>| {
        let up = found
            .get(1)
            .map_or(0, |supers| supers.as_str().matches("super").count());
        let base = &module[..module.len().saturating_sub(up)];
        let path: String = base.iter().flat_map(|segment| [segment.as_str(), "::"]).collect();
        format!("crate::{path}")
    });
    rewritten.into_owned()
}

/// Expands the braces of a `use` DECLARATION.
fn expand(prefix: &mut Vec<String>, tree: &str, found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let segments = path.split("::").map(|segment| segment.trim().to_owned());
        found.push(prefix.iter().cloned().chain(segments).collect());
        return;
    };
    let length = prefix.len();
    prefix.extend(
        path.split("::")
            .map(str::trim)
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned),
    );
    let group = group.strip_suffix('}').expect("a closed brace");
    let (mut depth, mut start) = (0, 0);
    for (index, character) in group.char_indices().chain([(group.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !group[start..index].trim().is_empty() {
                    expand(prefix, &group[start..index], found);
                }
                start = index + 1;
            }
            _ => {}
        }
    }
    prefix.truncate(length);
}

/// The sources of a crate's library.
fn sources(layer: &Crate) -> Vec<Source> {
    let is_program = |source: &Source| matches!(source.module.first().map(String::as_str), Some("bin" | "main"));
    let mut sources = sources_with_programs(layer);
    sources.retain(|source| !is_program(source));
    sources
}

fn sources_with_programs(layer: &Crate) -> Vec<Source> {
    let root = project().join(layer.folder);
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let module = module_of(path.strip_prefix(&root).expect("in the folder"));
            let is_test = module
                .iter()
                .any(|segment| segment == "tests" || segment.ends_with("_tests"));
            if is_test && module[0] != "shell_tests" {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = without_tests(&text);
            found.push(Source { path, module, code });
        }
    }
    assert!(found.len() > 10, "{}", layer.folder);
    found
}

fn module_of(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let mut module: Vec<String> = path
        .iter()
        .map(|segment| segment.to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// Drops the module of tests, which ends a file, and comments.
fn without_tests(text: &str) -> String {
    let end = TEST_MODULE.find(text).map_or(text.len(), |found| found.start());
    let is_last = text[end..].find("\n}\n").is_none_or(|at| end + at + 3 == text.len());
    assert!(is_last, "code after the tests");
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
