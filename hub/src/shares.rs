//! Partners' shares of their nodes' net: what holds on which day, and how an amount is split. Pure.

use jiff::civil::Date;
use uuid::Uuid;

/// The whole, in basis points.
pub const WHOLE: i32 = 10_000;

/// A partner's share from a day on; of several of one day the last in the list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub partner: Uuid,
    /// The first day (UTC).
    pub from: Date,
    /// Of the node's net.
    pub basis_points: i32,
}

/// The shares that hold on a day, by partner; those of nothing are left out. `shares` in the order in which they were
/// made.
#[must_use]
pub fn on(shares: &[Share], day: Date) -> Vec<(Uuid, i32)> {
    let mut held: Vec<Share> = Vec::new();
    for share in shares.iter().filter(|share| share.from <= day) {
        match held.iter_mut().find(|before| before.partner == share.partner) {
            Some(before) if before.from <= share.from => *before = *share,
            Some(_) => {}
            None => held.push(*share),
        }
    }
    held.into_iter().filter(|share| share.basis_points > 0).map(|share| (share.partner, share.basis_points)).collect()
}

/// The first day on which the shares of one node are more than the whole, and how much they are then.
#[must_use]
pub fn first_excess(shares: &[Share]) -> Option<(Date, i32)> {
    let mut days: Vec<_> = shares.iter().map(|share| share.from).collect();
    days.sort_unstable();
    days.dedup();
    let sums = days.into_iter().map(|day| (day, on(shares, day).iter().map(|(_, points)| points).sum::<i32>()));
    sums.into_iter().find(|(_, sum)| *sum > WHOLE)
}

/// Splits an amount so that the parts and what is left over make it: each gets its quota rounded down, and the units
/// that remain go to the largest remainders, of equal ones to the first. The last part is what no share takes.
#[must_use]
pub fn split(amount: i128, points: &[i32]) -> Vec<i128> {
    let left_over = WHOLE - points.iter().sum::<i32>();
    let all = points.iter().copied().chain([left_over.max(0)]).map(i128::from);
    let (sign, amount) = (amount.signum(), amount.unsigned_abs().cast_signed());
    let whole = i128::from(WHOLE);
    let quotas: Vec<_> = all.map(|points| (amount * points / whole, amount * points % whole)).collect();
    let given: i128 = quotas.iter().map(|(quota, _)| quota).sum();
    let mut order: Vec<_> = (0..quotas.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(quotas[index].1));
    let mut parts: Vec<_> = quotas.iter().map(|(quota, _)| *quota).collect();
    let remaining = usize::try_from(amount - given).unwrap_or(0);
    for &index in order.iter().take(remaining) {
        parts[index] += 1;
    }
    parts.into_iter().map(|part| part * sign).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(partner: u128, from: &str, basis_points: i32) -> Share {
        Share { partner: Uuid::from_u128(partner), from: from.parse().unwrap(), basis_points }
    }

    #[test]
    fn of_several_shares_the_latest_that_has_begun_holds() {
        let shares = [
            share(1, "2026-01-01", 5000),
            share(2, "2026-02-01", 4000),
            share(1, "2026-03-01", 6000),
            // Put right on the same day, and one that was agreed on late for before.
            share(1, "2026-03-01", 5500),
            share(2, "2026-01-15", 3000),
            share(2, "2026-04-01", 0),
        ];
        let on = |day: &str| -> Vec<_> {
            let held = on(&shares, day.parse().unwrap()).into_iter();
            held.map(|(partner, points)| (partner.as_u128(), points)).collect()
        };
        assert_eq!(on("2025-12-31"), []);
        assert_eq!(on("2026-01-01"), [(1, 5000)]);
        assert_eq!(on("2026-01-20"), [(1, 5000), (2, 3000)]);
        assert_eq!(on("2026-02-01"), [(1, 5000), (2, 4000)]);
        assert_eq!(on("2026-03-01"), [(1, 5500), (2, 4000)]);
        assert_eq!(on("2026-04-01"), [(1, 5500)]);
    }

    #[test]
    fn more_than_the_whole_is_found_on_the_day_it_begins() {
        let mut shares = vec![share(1, "2026-01-01", 6000), share(2, "2026-02-01", 4000)];
        assert_eq!(first_excess(&shares), None);
        shares.push(share(3, "2026-03-01", 1));
        assert_eq!(first_excess(&shares), Some(("2026-03-01".parse().unwrap(), 10_001)));
        shares.push(share(1, "2026-03-01", 5999));
        assert_eq!(first_excess(&shares), None);
    }

    #[test]
    fn the_largest_remainders_get_the_units_that_are_left() {
        for (amount, points, parts) in [
            (100, &[3333, 3333, 3334][..], &[33, 33, 34, 0][..]),
            (10, &[3333, 3333, 3334], &[3, 3, 4, 0]),
            (1, &[5000, 5000], &[1, 0, 0]),
            (-1, &[5000, 5000], &[-1, 0, 0]),
            (7, &[2500], &[2, 5]),
            (7, &[], &[7]),
            (0, &[5000], &[0, 0]),
        ] {
            assert_eq!(split(amount, points), parts, "{amount} by {points:?}");
        }
    }

    proptest! {
        #[test]
        fn parts_make_the_amount_and_none_is_a_unit_off(
            amount in -10_i128.pow(24)..10_i128.pow(24),
            weights in proptest::collection::vec(0_i32..=2000, 0..5),
        ) {
            let parts = split(amount, &weights);
            prop_assert_eq!(parts.iter().sum::<i128>(), amount);
            for (part, points) in parts.iter().zip(&weights) {
                let off = part * i128::from(WHOLE) - amount * i128::from(*points);
                prop_assert!(off.abs() < i128::from(WHOLE), "{} of {} at {}", part, amount, points);
            }
        }
    }
}
