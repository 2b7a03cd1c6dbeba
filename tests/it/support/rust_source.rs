//! Reads sources as the compiler's own lexer would: their tokens, and the strings in them.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Every source under a folder.
pub(crate) fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Words, `::` and single signs; comments and literals are left out.
pub(crate) fn tokens(source: &str) -> Vec<String> {
    let mut all = Vec::new();
    flatten(parse(source), &mut all);
    all
}

/// The strings of a source as the program has them; doc comments are none.
pub(crate) fn strings(source: &str) -> Vec<String> {
    let mut all = Vec::new();
    collect(parse(source), &mut all);
    all
}

fn parse(source: &str) -> TokenStream {
    source.parse().unwrap_or_else(|error| panic!("{error}: {source}"))
}

fn flatten(stream: TokenStream, into: &mut Vec<String>) {
    let mut half = false;
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis | Delimiter::None => ("(", ")"),
                };
                into.push(open.to_owned());
                flatten(group.stream(), into);
                into.push(close.to_owned());
            }
            TokenTree::Ident(word) => into.push(word.to_string()),
            TokenTree::Punct(sign) if half => {
                half = false;
                into.push(format!(":{}", sign.as_char()));
            }
            TokenTree::Punct(sign) => {
                half = sign.as_char() == ':' && sign.spacing() == Spacing::Joint;
                if !half {
                    into.push(sign.as_char().to_string());
                }
            }
            TokenTree::Literal(_) => {}
        }
    }
}

fn collect(stream: TokenStream, into: &mut Vec<String>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) if !is_doc(&group) => collect(group.stream(), into),
            TokenTree::Literal(literal) => match syn::Lit::new(literal) {
                syn::Lit::Str(text) => into.push(text.value()),
                syn::Lit::ByteStr(text) => into.extend(String::from_utf8(text.value())),
                _ => {}
            },
            _ => {}
        }
    }
}

/// What the lexer makes of `/// text`: `[doc = "text"]`.
fn is_doc(group: &proc_macro2::Group) -> bool {
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(word)) if word == "doc")
}

#[test]
fn strings_of_a_source_are_read_as_the_program_has_them() {
    let source = "let a = \"one\\n\\\n    two \\\"x\\\"\"; // \"no\"\nlet b = '\"'; \
                  f::<'a>(r#\"\\ \"y\"\"#, '\\'', [\"z\"]);\n/// \"no\"\nfn g() {}";
    assert_eq!(strings(source), ["one\ntwo \"x\"", "\\ \"y\"", "z"]);
}

#[test]
fn tokens_of_a_source_are_its_words_and_signs() {
    let source = "use a::{b, r#in}; /* c */ let x: &'a str = \"d\";";
    let expected = "use a :: { b , r#in } ; let x : & ' a str = ;".split(' ').collect::<Vec<_>>();
    assert_eq!(tokens(source), expected);
}
