//! A scanner of Rust text: knows what is code, comment and literal, and where blocks end.
//!
//! The checks look for words and count lines; a parser would be a large dependency for that, and
//! plain text search would find words in strings and comments. This is the smallest thing between.
//!
//! Invariant: `mask` keeps every line break and every column (in characters).
//! Not here: what the words mean (`words`, `speech`), how long is too long (`sizes`).

/// A Rust text taken apart; both parts have the lines and columns of the whole.
pub(crate) struct Masked {
    /// Without comments; of a literal only the quotes are left.
    pub(crate) code: String,
    /// Comments only.
    pub(crate) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

/// Separates code from comments and literals.
pub(crate) fn mask(text: &str) -> Masked {
    let mut masker = Masker { chars: text.chars().collect(), at: 0, out: Masked::empty() };
    while masker.at < masker.chars.len() {
        masker.step();
    }
    masker.out
}

impl Masked {
    fn empty() -> Self {
        Self { code: String::new(), comments: String::new() }
    }
}

struct Masker {
    chars: Vec<char>,
    at: usize,
    out: Masked,
}

impl Masker {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn take(&mut self, count: usize, part: Part) {
        for _ in 0..count {
            let Some(&c) = self.chars.get(self.at) else { return };
            let blank = if c == '\n' { '\n' } else { ' ' };
            self.out.code.push(if part == Part::Code { c } else { blank });
            self.out.comments.push(if part == Part::Comment { c } else { blank });
            self.at += 1;
        }
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.quoted('"'),
            ('\'', '\\') => self.quoted('\''),
            ('\'', _) if self.peek(2) == '\'' => self.quoted('\''),
            (c, _) if is_word(c) => self.word(),
            _ => self.take(1, Part::Code),
        }
    }

    fn line_comment(&mut self) {
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.take(1, Part::Comment);
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_u32;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.take(2, Part::Comment);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.take(2, Part::Comment);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.take(1, Part::Comment),
            }
        }
    }

    /// A literal with escapes, from its opening to its closing quote.
    fn quoted(&mut self, quote: char) {
        self.take(1, Part::Code);
        while self.at < self.chars.len() && self.peek(0) != quote {
            self.take(if self.peek(0) == '\\' { 2 } else { 1 }, Part::Literal);
        }
        self.take(1, Part::Code);
    }

    /// An identifier, a number, or the prefix of a raw string.
    fn word(&mut self) {
        let start = self.at;
        while is_word(self.peek(0)) {
            self.take(1, Part::Code);
        }
        let raw = matches!(self.chars[start..self.at], ['r'] | ['b' | 'c', 'r']);
        let mut hashes = 0;
        while raw && self.peek(hashes) == '#' {
            hashes += 1;
        }
        if raw && self.peek(hashes) == '"' {
            self.raw(hashes);
        }
    }

    /// A raw string: ends at a quote followed by as many `#` as it began with.
    fn raw(&mut self, hashes: usize) {
        self.take(hashes + 1, Part::Code);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                self.take(hashes + 1, Part::Code);
                return;
            }
            self.take(1, Part::Literal);
        }
    }
}

/// May be part of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Where `pattern` stands in `line` (byte offsets); where the pattern begins or ends with a letter,
/// the text around it must not go on with one (`rand` is not in `operand`).
pub(crate) fn find(line: &str, pattern: &str) -> Vec<usize> {
    let open = pattern.starts_with(is_word);
    let close = pattern.ends_with(is_word);
    line.match_indices(pattern)
        .filter(|(at, _)| !(open && line[..*at].ends_with(is_word)))
        .filter(|(at, _)| !(close && line[at + pattern.len()..].starts_with(is_word)))
        .map(|(at, _)| at)
        .collect()
}

/// `find` for the yes-or-no question.
pub(crate) fn says(line: &str, pattern: &str) -> bool {
    !find(line, pattern).is_empty()
}

/// The identifiers and numbers of a line of code.
pub(crate) fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// A function of the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// The line with `fn`, counted from one.
    pub(crate) line: usize,
    /// From the line with `fn` to the one with the closing brace.
    pub(crate) lines: usize,
}

/// Every function that has a body; `code` is masked.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for at in find(code, "fn") {
        let name: String =
            code[at + 2..].trim_start().chars().take_while(|c| is_word(*c) || *c == '#').collect();
        // `fn(u8) -> u8` is a type.
        if name.is_empty() {
            continue;
        }
        if let Some(end) = end_of_item(code, at)
            && code[..=end].ends_with('}')
        {
            let line = line_of(code, at);
            found.push(Function { name, line, lines: line_of(code, end) - line + 1 });
        }
    }
    found
}

/// For each line of masked code: does it belong to an item under `#[cfg(test)]` or `#[test]`?
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let mut test = vec![false; code.lines().count()];
    for (at, _) in code.match_indices("#[") {
        let Some(end) = closing(code, at + 1) else { continue };
        let attribute = &code[at..=end];
        let for_tests = attribute.starts_with("#[cfg(") && !attribute.contains("not(");
        let is_test =
            identifiers(attribute.split('(').next().unwrap_or(attribute)).last() == Some("test");
        if !(is_test || for_tests && says(attribute, "test")) {
            continue;
        }
        let last = end_of_item(code, end + 1).unwrap_or(code.len().saturating_sub(1));
        let lines = line_of(code, at) - 1..line_of(code, last);
        test[lines].fill(true);
    }
    test
}

/// The byte where the item that starts at `from` ends: its `;` or the `}` of its first block.
fn end_of_item(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return Some(from + offset),
            '{' if depth == 0 => return closing(code, from + offset),
            _ => {}
        }
    }
    None
}

/// The byte of the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, c) in code[open..].char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// The line of a byte, counted from one.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = concat!(
            "let a = \"x // \\\" y\"; // tail\n",
            "/* one /* two */ still */ let b = '\"'; let c = b'\\'';\n",
            "let d = r#\"raw \" { \"#; let e = br\"\\\"; let r#type = 1;\n",
        );
        let masked = mask(text);
        let code: Vec<&str> = masked.code.lines().collect();
        assert_eq!(code[0].trim_end(), "let a = \"         \";");
        assert_eq!(code[1].trim(), "let b = ' '; let c = b'  ';");
        assert_eq!(code[2], "let d = r#\"        \"#; let e = br\" \"; let r#type = 1;");
        let comments: Vec<&str> = masked.comments.lines().collect();
        assert_eq!(comments[0].trim(), "// tail");
        assert_eq!(comments[1].trim(), "/* one /* two */ still */");
        assert_eq!(comments[2].trim(), "");
    }

    #[test]
    fn lifetimes_do_not_open_a_literal() {
        let text = "fn f<'a>(x: &'a str, y: &'static str) -> &'a str { x } // end\n";
        assert!(mask(text).code.contains("-> &'a str { x }"));
        assert_eq!(mask(text).comments.trim(), "// end");
        assert_eq!(mask("let q = '\u{e9}'; x").code, "let q = ' '; x");
    }

    #[test]
    fn a_literal_over_several_lines_keeps_them() {
        let masked = mask("let a = \"one\n  two {\\\n three\";\nfn f() {}\n");
        assert_eq!(masked.code.lines().count(), 4);
        assert_eq!(masked.code.lines().nth(3), Some("fn f() {}"));
        assert!(!masked.code.contains("{\n"));
    }

    #[test]
    fn words_end_where_identifiers_end() {
        assert!(says("use rand::Rng;", "rand"));
        assert!(!says("let operand = 1;", "rand"));
        assert!(!says("let rand_seed = 1;", "rand"));
        assert!(says("x.unwrap();", ".unwrap()"));
        assert!(!says("x.unwrap_or(1)", ".unwrap()"));
    }

    #[test]
    fn a_function_ends_at_its_own_brace() {
        let code = concat!(
            "trait T { fn declared(&self) -> [u8; 4]; }\n",
            "type F = fn(u8) -> u8;\n",
            "fn short<const N: usize>(x: [u8; N]) where [u8; N]: Sized { if true { } }\n",
            "async fn long(\n    a: u8,\n) {\n    let s = S { a };\n}\n",
        );
        let function = |name: &str, line, lines| Function { name: name.to_owned(), line, lines };
        assert_eq!(functions(code), [function("short", 3, 1), function("long", 4, 5)]);
    }

    #[test]
    fn a_brace_in_a_literal_does_not_end_a_function() {
        let text = "fn f() {\n    g(\"}\", '}', r\"}\"); // }\n    /* } */\n}\n";
        assert_eq!(functions(&mask(text).code)[0].lines, 4);
    }

    #[test]
    fn test_items_are_told_from_the_rest() {
        let code = concat!(
            "fn real() {}\n",
            "#[cfg(not(test))]\nfn also_real() {}\n",
            "#[tokio::test(flavor = \"current_thread\")]\nasync fn story() {\n}\n",
            "#[cfg(test)]\nmod tests {\n    fn inner() {}\n}\n",
            "fn last() {}\n",
        );
        let test = test_lines(code);
        assert_eq!(test, [false, false, false, true, true, true, true, true, true, true, false]);
    }
}
