//! Lists in pages: how much a client asks for, and where the next page begins. Pure.

use super::validation::Problems;

/// Unless a client says otherwise.
const DEFAULT: usize = 50;
/// More are not given at once.
const MAX: usize = 200;

/// How many a page holds: 1 to 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(usize);

impl Limit {
    /// Reads the field `limit` of a query; what is no limit is noted in `problems`.
    #[must_use]
    pub fn parse(text: Option<&str>, problems: &mut Problems) -> Self {
        let limit = text.map_or(Some(DEFAULT), |text| text.parse().ok()).filter(|limit| (1..=MAX).contains(limit));
        problems.unless(limit.is_some(), "limit", "field-limit");
        Self(limit.unwrap_or(DEFAULT))
    }

    /// One more than a page holds: whether it is there tells whether there is another page.
    #[must_use]
    pub const fn and_one(self) -> usize {
        self.0 + 1
    }

    /// [`Self::and_one`], as SQL takes it.
    #[must_use]
    pub fn in_sql(self) -> i64 {
        i64::try_from(self.and_one()).unwrap_or(i64::MAX)
    }

    /// A page of what was found with [`Self::and_one`], and the cursor of its last element if there is another page.
    pub fn cut<T, C>(self, mut found: Vec<T>, cursor: impl FnOnce(&T) -> C) -> (Vec<T>, Option<C>) {
        let more = found.len() > self.0;
        found.truncate(self.0);
        let next = found.last().filter(|_| more).map(cursor);
        (found, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_from_1_to_200_and_50_unless_told() {
        for (text, expected) in [(None, Some(50)), (Some("1"), Some(1)), (Some("200"), Some(200))] {
            let mut problems = Problems::default();
            let limit = Limit::parse(text, &mut problems);
            assert_eq!(problems.refuse().ok().map(|()| limit.0), expected, "{text:?}");
        }
        for text in ["", "0", "201", "-1", "1.0", "x", "99999999999999999999"] {
            let mut problems = Problems::default();
            let _ = Limit::parse(Some(text), &mut problems);
            assert!(problems.refuse().is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_has_a_cursor_when_there_is_another() {
        let limit = Limit(2);
        assert_eq!((limit.and_one(), limit.in_sql()), (3, 3));
        assert_eq!(limit.cut(vec![1, 2, 3], |last| *last), (vec![1, 2], Some(2)));
        assert_eq!(limit.cut(vec![1, 2], |last| *last), (vec![1, 2], None));
        assert_eq!(limit.cut(Vec::<i32>::new(), |last| *last), (vec![], None));
    }
}
