//! Texts for people, in Arabic and English: those that every service says, and those that a program adds.

use std::sync::{LazyLock, OnceLock};

use axum::http::StatusCode;
use fluent::{FluentArgs, FluentResource, concurrent::FluentBundle};
use unic_langid::LanguageIdentifier;

use crate::envelope::Language;

/// What a program says beside what all say.
pub struct Words {
    /// Fluent.
    pub arabic: &'static str,
    /// Fluent, with the same keys.
    pub english: &'static str,
    /// Constraints of the program's database that a client can break, and what it is told.
    pub constraints: &'static [(&'static str, StatusCode, &'static str)],
}

struct Bundles {
    arabic: FluentBundle<FluentResource>,
    english: FluentBundle<FluentResource>,
}

const SHARED: [&str; 2] = [include_str!("../../locales/ar.ftl"), include_str!("../../locales/en.ftl")];
static EVERYWHERE: LazyLock<Bundles> = LazyLock::new(|| Bundles::new(SHARED[0], SHARED[1]));
static OWN: OnceLock<(Bundles, &'static Words)> = OnceLock::new();

impl Bundles {
    fn new(arabic: &str, english: &str) -> Self {
        Self { arabic: bundle(Language::Arabic, arabic), english: bundle(Language::English, english) }
    }

    fn text(&self, language: Language, key: &str, named: &[(&'static str, String)]) -> Option<String> {
        let bundle = match language {
            Language::Arabic => &self.arabic,
            Language::English => &self.english,
        };
        let pattern = bundle.get_message(key)?.value()?;
        let named: FluentArgs<'_> = named.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Some(bundle.format_pattern(pattern, Some(&named), &mut Vec::new()).into_owned())
    }
}

fn bundle(language: Language, source: &str) -> FluentBundle<FluentResource> {
    let tag: LanguageIdentifier = language.tag().parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![tag]);
    // A test holds the files to be free of errors and the same in their keys.
    let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, _)| resource);
    bundle.add_resource_overriding(resource);
    bundle
}

/// Takes a program's words, once, before it serves.
pub fn install(words: &'static Words) {
    OWN.get_or_init(|| (Bundles::new(words.arabic, words.english), words));
}

/// The text of `key`; the key itself when there is none.
#[must_use]
pub fn text(language: Language, key: &str) -> String {
    naming(language, key, &[])
}

/// The text of `key` with what it is to name; the key itself when there is none.
#[must_use]
pub fn naming(language: Language, key: &str, named: &[(&'static str, String)]) -> String {
    let own = OWN.get().and_then(|(bundles, _)| bundles.text(language, key, named));
    own.or_else(|| EVERYWHERE.text(language, key, named)).unwrap_or_else(|| key.to_owned())
}

/// What a client is told who breaks this constraint.
pub(super) fn of_constraint(name: &str) -> Option<(StatusCode, &'static str)> {
    let (_, words) = OWN.get()?;
    words.constraints.iter().find(|(constraint, ..)| *constraint == name).map(|(_, status, code)| (*status, *code))
}

/// What is wrong with a pair of files: errors, keys that only one has, texts that are not translated. For tests.
#[must_use]
pub fn flaws(arabic: &str, english: &str) -> Vec<String> {
    let mut flaws = Vec::new();
    let mut keys = Vec::new();
    for (language, source) in [("ar", arabic), ("en", english)] {
        if let Err((_, errors)) = FluentResource::try_new(source.to_owned()) {
            flaws.push(format!("{language}: {errors:?}"));
        }
        let lines = source.lines().filter(|line| !line.starts_with('#'));
        let mut found: Vec<_> = lines.filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
        found.sort_unstable();
        keys.push(found);
    }
    if keys[0] != keys[1] {
        flaws.push(format!("keys differ: {:?} and {:?}", keys[0], keys[1]));
    }
    let bundles = Bundles::new(arabic, english);
    let same = |key: &&&str| bundles.text(Language::Arabic, key, &[]) == bundles.text(Language::English, key, &[]);
    flaws.extend(keys[1].iter().filter(same).map(|key| format!("{key} is not translated")));
    flaws
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_are_well_formed_and_have_the_same_keys() {
        assert_eq!(flaws(SHARED[0], SHARED[1]), Vec::<String>::new());
        assert_eq!(flaws("a = ا\n", "a = a\nb = b\n").len(), 1, "a key that only one has");
        assert_eq!(flaws("a = a\n", "a = a\n").len(), 1, "a text that is not translated");
        assert_eq!(text(Language::English, "no-such-key"), "no-such-key");
    }
}
