//! Dates.

/// Days since 1970 of a date `yyyy-mm-dd` (Howard Hinnant's way: years begin in March).
pub(crate) fn days_since_1970(date: &str) -> Result<i64, String> {
    let wrong = || format!("{date:?} is not a date like 2013-10-07, from 1970 to 2105");
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (Some(Some(year)), Some(Some(month)), Some(Some(day))) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    // The wire's 32-bit seconds end in February 2106.
    if !(1970..=2105).contains(&year) || !(1..=12).contains(&month) || !(1..=days_of_month).contains(&day) {
        return Err(wrong());
    }
    let march_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (march_year / 400, march_year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Ok(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(days_since_1970("1970-01-01"), Ok(0));
        assert_eq!(days_since_1970("2013-10-07"), Ok(15_985));
        assert_eq!(days_since_1970("2024-02-29"), Ok(19_782));
        for wrong in ["2023-02-29", "2013-13-01", "2013-10", "today", "2106-01-01"] {
            assert!(days_since_1970(wrong).is_err(), "{wrong}");
        }
    }
}
