//! Makes external text harmless: one line, of bounded length, without characters that control a terminal, or hide or
//! reorder the text around them.

/// Returns the text as one line of at most `longest` characters, and a `…` if it was longer.
pub fn one_line(text: &str, longest: usize) -> String {
    let words = text.split(|character: char| character.is_whitespace() || is_unseen(character));
    let mut line = String::new();
    let mut characters = 0;
    for word in words.filter(|word| !word.is_empty()) {
        // Text after the cut is not processed: external text can be long.
        if characters > longest {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
            characters += 1;
        }
        for character in word.chars().take(longest + 1 - characters.min(longest)) {
            line.push(character);
            characters += 1;
        }
    }
    match line.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

/// Control characters, and those that reorder or hide the text around them.
pub fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Returns the longest prefix of at most `most` bytes.
pub fn cut_to_bytes(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_bidirectional_and_invisible_characters_are_removed() {
        assert_eq!(one_line(" a\r\nb\t\u{1b}[31mc\u{202e}d\u{9b}e  ", 80), "a b [31mc d e");
        for hidden in [
            "\u{200b}",
            "\u{2066}",
            "\u{61c}",
            "\u{ad}",
            "\u{e0041}",
            "\u{85}",
            "\u{7f}",
        ] {
            assert_eq!(one_line(&format!("a{hidden}b"), 80), "a b", "{hidden:?}");
        }
        assert_eq!(one_line("grün 東京 ✓", 80), "grün 東京 ✓", "what can be read stays");
    }

    #[test]
    fn a_truncated_text_ends_with_an_ellipsis() {
        assert_eq!(one_line("abc def", 7), "abc def");
        assert_eq!(one_line("abc def", 6), "abc de…");
        assert_eq!(one_line("abc def", 4), "abc…");
        assert_eq!(cut_to_bytes("aé", 2), "a");
        assert_eq!(cut_to_bytes("aé", 3), "aé");
        assert_eq!(cut_to_bytes("aé", 30), "aé");
    }

    proptest! {
        #[test]
        fn one_line_is_bounded_and_idempotent_for_any_text(
            text in any::<String>(), longest in 1_usize..40,
        ) {
            let line = one_line(&text, longest);
            prop_assert!(line.chars().count() <= longest + 1);
            prop_assert!(!line.chars().any(is_unseen));
            prop_assert_eq!(one_line(&line, longest + 1), line);
        }
    }
}
