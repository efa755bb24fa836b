//! Money: integer minor units, with the decimals of ISO 4217.

use iso_currency::Currency;

/// `minor` units of `currency` for people: `125000, "SAR"` is `1,250.00 SAR`.
/// A currency that ISO 4217 does not know is written without decimals.
#[must_use]
pub fn format_minor_units(minor: impl Into<i128>, currency: &str) -> String {
    let text = decimal(minor, currency);
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.map(|digits| format!(".{digits}")).unwrap_or_default();
    format!("{sign}{grouped}{fraction} {currency}")
}

/// The most that one amount may be, in minor units.
pub const MAX_MINOR_UNITS: i64 = 1_000_000_000_000_000;

/// Decimals of a currency, by ISO 4217; none for one that it does not know.
#[must_use]
pub fn decimals(currency: &str) -> usize {
    usize::from(Currency::from_code(currency).and_then(iso_currency::Currency::exponent).unwrap_or(0))
}

/// Reads an amount: ASCII digits, and a point with no more decimals than the currency has. From one minor unit to
/// [`MAX_MINOR_UNITS`]; none when it is anything else.
#[must_use]
pub fn parse_minor_units(text: &str, currency: &str) -> Option<i64> {
    let decimals = decimals(currency);
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if (1..=decimals).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 16 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let minor: i64 = format!("{whole}{fraction:0<decimals$}").parse().ok()?;
    (1..=MAX_MINOR_UNITS).contains(&minor).then_some(minor)
}

/// An amount for programs, as [`parse_minor_units`] reads it: `125000, "SAR"` is `1250.00`.
#[must_use]
pub fn decimal(minor: impl Into<i128>, currency: &str) -> String {
    let (minor, decimals) = (minor.into(), decimals(currency));
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let sign = if minor < 0 { "-" } else { "" };
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// The platform's share of an amount, rounded half up. The product passes 64 bits.
#[must_use]
pub fn fee(amount: i64, basis_points: i32) -> i64 {
    let fee = (i128::from(amount) * i128::from(basis_points) + 5000) / 10_000;
    // At most the amount, for rates up to 100 %.
    i64::try_from(fee).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_written_with_the_decimals_of_their_currency() {
        for (minor, currency, expected) in [
            (125_000, "SAR", "1,250.00 SAR"),
            (5, "USD", "0.05 USD"),
            (0, "USD", "0.00 USD"),
            (1_234_567, "KWD", "1,234.567 KWD"),
            (1_000, "JPY", "1,000 JPY"),
            (-70, "EUR", "-0.70 EUR"),
            (i64::MIN, "USD", "-92,233,720,368,547,758.08 USD"),
        ] {
            assert_eq!(format_minor_units(minor, currency), expected);
        }
    }

    #[test]
    fn amounts_are_read_in_ascii_digits_with_the_currency_s_decimals() {
        for (text, currency, minor) in [
            ("1250.00", "SAR", Some(125_000)),
            ("1250", "SAR", Some(125_000)),
            ("0.5", "SAR", Some(50)),
            ("0.01", "SAR", Some(1)),
            ("1.234", "KWD", Some(1234)),
            ("1000", "JPY", Some(1000)),
            ("10000000000000.00", "SAR", Some(MAX_MINOR_UNITS)),
            ("10000000000000.01", "SAR", None),
            ("99999999999999999999999999", "SAR", None),
            ("0", "SAR", None),
            ("0.00", "SAR", None),
            ("1.234", "SAR", None),
            ("1.0", "JPY", None),
            ("1.", "SAR", None),
            (".5", "SAR", None),
            ("", "SAR", None),
            ("-1", "SAR", None),
            ("+1", "SAR", None),
            ("1,5", "SAR", None),
            ("1e3", "SAR", None),
            (" 1", "SAR", None),
            ("١٢", "SAR", None),
            ("NaN", "SAR", None),
        ] {
            assert_eq!(parse_minor_units(text, currency), minor, "{text} {currency}");
        }
    }

    #[test]
    fn the_fee_is_rounded_half_up() {
        for (amount, points, expected) in [
            (1, 1000, 0),
            (5, 1000, 1),
            (4, 1000, 0),
            (15, 1000, 2),
            (MAX_MINOR_UNITS, 10_000, MAX_MINOR_UNITS),
            (7, 0, 0),
        ] {
            assert_eq!(fee(amount, points), expected, "{amount} at {points}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_is_read_as_it_is_written(minor in 1..=MAX_MINOR_UNITS, currency in "SAR|KWD|JPY|USD") {
            prop_assert_eq!(parse_minor_units(&decimal(minor, &currency), &currency), Some(minor));
        }

        #[test]
        fn no_digit_is_lost(minor: i64) {
            let text = format_minor_units(minor, "KWD");
            let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
            prop_assert_eq!(digits.parse::<i64>().unwrap(), minor);
        }
    }
}
