//! Money: integer minor units, with the decimals of ISO 4217.

use iso_currency::Currency;

/// `minor` units of `currency` for people: `125000, "SAR"` is `1,250.00 SAR`.
/// A currency that ISO 4217 does not know is written without decimals.
#[must_use]
pub fn format_minor_units(minor: i64, currency: &str) -> String {
    let decimals = usize::from(Currency::from_code(currency).and_then(iso_currency::Currency::exponent).unwrap_or(0));
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if minor < 0 { "-" } else { "" };
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction} {currency}")
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

    proptest! {
        #[test]
        fn no_digit_is_lost(minor: i64) {
            let text = format_minor_units(minor, "KWD");
            let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
            prop_assert_eq!(digits.parse::<i64>().unwrap(), minor);
        }
    }
}
