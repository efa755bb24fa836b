//! Texts for people, in Arabic and English.

use std::sync::LazyLock;

use fateh_common::envelope::Language;
use fluent::{FluentResource, concurrent::FluentBundle};
use unic_langid::LanguageIdentifier;

static ARABIC: LazyLock<FluentBundle<FluentResource>> =
    LazyLock::new(|| bundle(Language::Arabic, include_str!("../locales/ar.ftl")));
static ENGLISH: LazyLock<FluentBundle<FluentResource>> =
    LazyLock::new(|| bundle(Language::English, include_str!("../locales/en.ftl")));

fn bundle(language: Language, source: &str) -> FluentBundle<FluentResource> {
    let tag: LanguageIdentifier = language.tag().parse().unwrap_or_default();
    let mut bundle = FluentBundle::new_concurrent(vec![tag]);
    // A test holds the files to be free of errors and the same in their keys.
    let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, _)| resource);
    bundle.add_resource_overriding(resource);
    bundle
}

/// The text of `key`; the key itself when there is none.
#[must_use]
pub fn text(language: Language, key: &str) -> String {
    let bundle = match language {
        Language::Arabic => &*ARABIC,
        Language::English => &*ENGLISH,
    };
    let pattern = bundle.get_message(key).and_then(|message| message.value());
    pattern.map_or_else(|| key.to_owned(), |pattern| bundle.format_pattern(pattern, None, &mut Vec::new()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(source: &str) -> Vec<&str> {
        let mut keys: Vec<_> = source
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(" = "))
            .map(|(key, _)| key)
            .collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn both_languages_are_well_formed_and_have_the_same_keys() {
        let (arabic, english) = (include_str!("../locales/ar.ftl"), include_str!("../locales/en.ftl"));
        assert!(FluentResource::try_new(arabic.to_owned()).is_ok());
        assert!(FluentResource::try_new(english.to_owned()).is_ok());
        assert_eq!(keys(arabic), keys(english));
        for key in keys(english) {
            assert_ne!(text(Language::Arabic, key), text(Language::English, key), "{key}");
        }
    }
}
