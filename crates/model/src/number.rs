//! Numbers are decimals: a source's value is kept, added up and compared exactly as written.
//!
//! A decimal is a whole number of up to 96 bits (28 digits, often 29) and a scale of up to 28 digits after the point. Sums and comparisons are exact; a
//! quotient, and a product with more digits than that, is rounded half-even. What is too great for a decimal is null, which here is `None`.
//!
//! A literal of a rule keeps its first 28 digits or is refused. A number of a record is rounded to the 28th place after the point: a double of
//! 5.551115123125783e-17 is noise for 0, and no reason to lose the record.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Digits that a quotient keeps.
const DIGITS: u32 = 28;
/// The least whole number of that many digits.
const FULL: u128 = 10_u128.pow(DIGITS - 1);
/// One whole in the unit of `Sum::fraction`.
const ONE: i128 = 10_i128.pow(DIGITS);
/// One more than the greatest whole number of a decimal.
const MANTISSA_END: u128 = 1 << 96;

/// What a decimal holds, in words.
pub const BOUNDS: &str = "a number below 7.9e28";

/// Why a text is no decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It does not follow JSON's grammar.
    #[error("is no number")]
    NoNumber,
    /// 7.9e28 or more.
    #[error("is too large")]
    TooGreat,
    /// A decimal does not hold its first 28 digits.
    #[error("has digits beyond the 28th place after the point")]
    TooFine,
}

/// Reads a number by JSON's grammar, ignoring blanks around it. Digits that a decimal has no room for are rounded half-even.
///
/// `None` where the text is not a number, or the number is too great.
pub fn parse(text: &str) -> Option<Decimal> {
    let (negative, digits, scale) = written(text).ok()?;
    let number = digits.at_scale(scale).ok()?.0;
    Some(signed(negative, number))
}

/// As `parse`, but refuses what a decimal does not hold to its first 28 digits.
///
/// # Errors
/// Where the text is not a number, or does not fit.
pub fn read(text: &str) -> Result<Decimal, Misfit> {
    let (negative, digits, scale) = written(text)?;
    let (number, fits) = digits.at_scale(scale)?;
    if fits { Ok(signed(negative, number)) } else { Err(Misfit::TooFine) }
}

fn signed(negative: bool, number: Decimal) -> Decimal {
    if negative && !number.is_zero() { -number } else { number }
}

/// The sign of a number, its digits, and how many of them are after the point.
fn written(text: &str) -> Result<(bool, Digits, i64), Misfit> {
    let text = text.trim();
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (number, exponent) = match rest.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, read_exponent(exponent).ok_or(Misfit::NoNumber)?),
        None => (rest, 0),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(Misfit::NoNumber),
        Some((whole, fraction)) => (whole, fraction),
        None => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || whole.len() > 1 && whole.starts_with('0') {
        return Err(Misfit::NoNumber);
    }
    let mut reader = Digits::default();
    whole.bytes().chain(fraction.bytes()).for_each(|byte| reader.push(byte - b'0'));
    let length = |digits: usize| i64::try_from(digits).map_err(|_| Misfit::TooGreat);
    let scale = length(fraction.len())? - exponent - length(reader.dropped)?;
    Ok((negative, reader, scale))
}

/// Reads a number as other systems write it: by JSON's grammar, or with a sign before a positive one, zeros before other digits, no digit before the point or
/// none after it, such as `+1.5`, `007.5`, `.5` and `5.`.
pub fn parse_spelled(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => ("-", size),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let size = size.strip_suffix('.').unwrap_or(size);
    if !size.starts_with(|sign: char| sign.is_ascii_digit() || sign == '.') {
        return None;
    }
    let size = size.trim_start_matches('0');
    let zero = if size.starts_with(|sign: char| sign.is_ascii_digit()) { "" } else { "0" };
    parse(&format!("{sign}{zero}{size}"))
}

fn read_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A longer number is beyond every decimal anyway.
    let value = digits.trim_start_matches('0');
    let value = if value.len() > 9 { 1_000_000_000 } else { value.parse().unwrap_or(0) };
    Some(if text.starts_with('-') { -value } else { value })
}

/// Leading digits of a number, and what is known of the rest.
#[derive(Default)]
struct Digits {
    kept: u128,
    /// Digits after those kept.
    dropped: usize,
    /// Whether one of the dropped is not 0.
    rest: bool,
}

impl Digits {
    fn push(&mut self, digit: u8) {
        // Enough digits to round from, and far from the limit of 128 bits.
        if self.kept < 10_u128.pow(DIGITS + 6) {
            self.kept = self.kept * 10 + u128::from(digit);
        } else {
            self.dropped += 1;
            self.rest |= digit != 0;
        }
    }

    /// The number with the given count of the kept digits after the decimal point, rounded to the nearest decimal; whether that has its first 28 digits.
    fn at_scale(mut self, mut scale: i64) -> Result<(Decimal, bool), Misfit> {
        if self.kept == 0 {
            return Ok((Decimal::ZERO, true));
        }
        while scale < 0 {
            let more = self.kept.checked_mul(10).filter(|kept| *kept < MANTISSA_END);
            self.kept = more.ok_or(Misfit::TooGreat)?;
            scale += 1;
        }
        let (mut kept, mut half) = (self.kept, Half::of(self.rest));
        while scale > i64::from(Decimal::MAX_SCALE) && kept > 0 || kept >= MANTISSA_END {
            if scale == 0 {
                return Err(Misfit::TooGreat);
            }
            half = half.then((kept % 10) as u8);
            (kept, scale) = (kept / 10, scale - 1);
        }
        if scale > i64::from(Decimal::MAX_SCALE) {
            // Nothing is left, and the zeros before it are no part of a half.
            (scale, half) = (i64::from(Decimal::MAX_SCALE), Half::Less);
        }
        let fits = half == Half::Nothing || kept >= FULL;
        kept += u128::from(half.up(kept));
        if kept >= MANTISSA_END {
            return Err(Misfit::TooGreat);
        }
        let number = decimal(false, kept, scale).ok_or(Misfit::TooGreat)?;
        Ok((number, fits))
    }
}

/// The part cut off a number, in units of its last digit.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Nothing,
    Less,
    Exactly,
    More,
}

impl Half {
    fn of(rest: bool) -> Half {
        if rest { Half::Less } else { Half::Nothing }
    }

    /// Cuts off one more digit, before those already cut.
    fn then(self, digit: u8) -> Half {
        match (digit, self) {
            (0, Half::Nothing) => Half::Nothing,
            (0..=4, _) => Half::Less,
            (5, Half::Nothing) => Half::Exactly,
            _ => Half::More,
        }
    }

    /// Whether half-even rounds up.
    fn up(self, number: u128) -> bool {
        self == Half::More || self == Half::Exactly && number % 2 == 1
    }
}

fn decimal(negative: bool, mantissa: u128, scale: i64) -> Option<Decimal> {
    let signed = i128::try_from(mantissa).ok()?;
    let scale = u32::try_from(scale).ok()?;
    Decimal::try_from_i128_with_scale(if negative { -signed } else { signed }, scale)
        .ok()
        .map(|number| number.normalize())
}

/// How a decimal is stored: mantissa and scale, which every format of serde can hold.
pub mod stored {
    use rust_decimal::Decimal;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// As mantissa and scale.
    pub fn serialize<S: Serializer>(number: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        (number.mantissa(), number.scale()).serialize(serializer)
    }

    /// Reads what `serialize` wrote.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
        let (mantissa, scale) = <(i128, u32)>::deserialize(deserializer)?;
        Decimal::try_from_i128_with_scale(mantissa, scale).map_err(D::Error::custom)
    }
}

/// The shortest decimal that denotes a double; `None` where it is not a number, or too great.
pub fn of_double(number: f64) -> Option<Decimal> {
    if !number.is_finite() {
        return None;
    }
    parse(&format!("{number:e}"))
}

/// The shortest decimal that denotes a float of 32 bits.
pub fn of_single(number: f32) -> Option<Decimal> {
    if !number.is_finite() {
        return None;
    }
    parse(&format!("{number:e}"))
}

/// A big-endian two's complement number whose last `scale` digits are after the decimal point, as
/// in Avro.
pub fn of_unscaled(bytes: &[u8], scale: u32) -> Option<Decimal> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let fill = if negative { 0xFF } else { 0 };
    let start = bytes.iter().position(|byte| *byte != fill).unwrap_or(bytes.len());
    let mut padded = [fill; 16];
    // Fifteen bytes are more than a decimal holds; one is for the sign.
    let body = &bytes[start..];
    if body.len() > 15 {
        return None;
    }
    padded[16 - body.len()..].copy_from_slice(body);
    let number = i128::from_be_bytes(padded);
    let digits = Digits {
        kept: number.unsigned_abs(),
        ..Digits::default()
    };
    let size = digits.at_scale(i64::from(scale)).ok()?.0;
    Some(if number < 0 { -size } else { size })
}

/// A quotient of 28 digits, rounded half-even; `None` by zero.
pub fn divide(dividend: Decimal, divisor: Decimal) -> Option<Decimal> {
    let by = divisor.mantissa().unsigned_abs();
    if by == 0 {
        return None;
    }
    let mut scale = i64::from(dividend.scale()) - i64::from(divisor.scale());
    let size = dividend.mantissa().unsigned_abs();
    let (mut quotient, mut rest) = (size / by, size % by);
    while (scale < 0 || rest != 0 && quotient < FULL) && scale < i64::from(Decimal::MAX_SCALE) {
        rest *= 10;
        quotient = quotient.checked_mul(10)? + rest / by;
        rest %= by;
        scale += 1;
        if quotient >= MANTISSA_END {
            return None;
        }
    }
    let mut half = match (rest * 2).cmp(&by) {
        _ if rest == 0 => Half::Nothing,
        std::cmp::Ordering::Less => Half::Less,
        std::cmp::Ordering::Equal => Half::Exactly,
        std::cmp::Ordering::Greater => Half::More,
    };
    while scale > i64::from(Decimal::MAX_SCALE) || half != Half::Nothing && quotient >= FULL * 10 && scale > 0 {
        // Whatever followed the digit that goes now is less than a whole of it.
        let followed = if half == Half::Nothing { Half::Nothing } else { Half::Less };
        half = followed.then((quotient % 10) as u8);
        quotient /= 10;
        scale -= 1;
    }
    quotient += u128::from(half.up(quotient));
    if quotient >= MANTISSA_END {
        return None;
    }
    decimal(dividend.is_sign_negative() != divisor.is_sign_negative(), quotient, scale)
}

/// A sum that stays exact through additions and withdrawals in any order: wholes and fractions are
/// whole numbers of their own unit.
///
/// Sixty-four bits of decimals fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    whole: i128,
    /// In units of 10^-28.
    fraction: i128,
}

impl Sum {
    /// Adds a number.
    pub fn add(&mut self, number: Decimal) {
        self.change(number, 1);
    }

    /// Takes a number out that was added before.
    pub fn remove(&mut self, number: Decimal) {
        self.change(number, -1);
    }

    /// As `add`, for a whole number.
    pub fn add_whole(&mut self, number: i64) {
        self.whole = self.whole.saturating_add(i128::from(number));
    }

    /// As `remove`, for a whole number.
    pub fn remove_whole(&mut self, number: i64) {
        self.whole = self.whole.saturating_sub(i128::from(number));
    }

    fn change(&mut self, number: Decimal, sign: i128) {
        let (mantissa, unit) = (number.mantissa(), 10_i128.pow(number.scale()));
        self.whole = self.whole.saturating_add(sign * (mantissa / unit));
        self.fraction += sign * (mantissa % unit) * (ONE / unit);
        // Normalise, so that two equal sums have equal fields.
        self.whole = self.whole.saturating_add(self.fraction.div_euclid(ONE));
        self.fraction = self.fraction.rem_euclid(ONE);
    }

    /// The sum as a decimal, rounded half-even where it has more digits than one holds; `None`
    /// where it is too great.
    pub fn total(&self) -> Option<Decimal> {
        let (negative, whole, fraction) = if self.whole < 0 {
            // The fraction is never negative: `-0.5` is a whole of -1 and a half.
            let borrow = i128::from(self.fraction > 0);
            (
                true,
                -(self.whole.checked_add(borrow)?),
                if self.fraction > 0 { ONE - self.fraction } else { 0 },
            )
        } else {
            (false, self.whole, self.fraction)
        };
        let whole = u128::try_from(whole).ok().filter(|whole| *whole < MANTISSA_END)?;
        let (mut fraction, mut unit, mut scale) = (u128::try_from(fraction).ok()?, ONE.unsigned_abs(), i64::from(DIGITS));
        // Zeros at the end go first, in powers of two: amounts of money have 26 of them.
        for digits in [16, 8, 4, 2, 1] {
            let power = 10_u128.pow(digits);
            if scale >= i64::from(digits) && fraction % power == 0 {
                (fraction, unit, scale) = (fraction / power, unit / power, scale - i64::from(digits));
            }
        }
        let mut half = Half::Nothing;
        while scale > 0 && !fits(whole, fraction, unit) {
            half = half.then((fraction % 10) as u8);
            (fraction, unit, scale) = (fraction / 10, unit / 10, scale - 1);
        }
        let mantissa = whole * unit + fraction;
        let mantissa = mantissa + u128::from(half.up(mantissa));
        (mantissa < MANTISSA_END).then(|| decimal(negative, mantissa, scale))?
    }
}

fn fits(whole: u128, fraction: u128, unit: u128) -> bool {
    whole
        .checked_mul(unit)
        .and_then(|whole| whole.checked_add(fraction))
        .is_some_and(|mantissa| mantissa < MANTISSA_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(number: Option<Decimal>) -> String {
        number.map_or_else(|| "null".to_owned(), |number| number.to_string())
    }

    #[test]
    fn reads_by_the_grammar_of_json() {
        for (text, expected) in [
            ("30", "30"),
            (" -0.10 ", "-0.1"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
            ("0", "0"),
            ("12345678901234567890.123456789", "12345678901234567890.123456789"),
            ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
            ("1.50e-27", "0.0000000000000000000000000015"),
            ("0.12345678901234567890123456785", "0.1234567890123456789012345678"),
            ("0.12345678901234567890123456789", "0.1234567890123456789012345679"),
            ("0.00000000000000000000000000005", "0"),
            ("0.00000000000000000000000000015", "0.0000000000000000000000000002"),
            ("1.5e-30", "0"),
            ("1.234567890123456789e-15", "0.0000000000000012345678901235"),
            ("0.012345678901234567890123456789", "0.0123456789012345678901234568"),
            ("0e-400", "0"),
            ("1.00000000000000000000000000050001", "1.0000000000000000000000000005"),
            ("123456789012345678901234567890", "null"),
            ("1e400", "null"),
            ("1e-400", "0"),
            ("+5", "null"),
            ("05", "null"),
            ("1.", "null"),
            (".5", "null"),
            ("1e", "null"),
            ("inf", "null"),
            ("1_000", "null"),
            ("", "null"),
        ] {
            assert_eq!(shown(parse(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_misfit_has_a_reason() {
        for (text, expected) in [
            ("ten", Misfit::NoNumber),
            ("1e30", Misfit::TooGreat),
            ("123456789012345678901234567890.5", Misfit::TooGreat),
            ("1e-30", Misfit::TooFine),
            ("1.234567890123456789e-15", Misfit::TooFine),
            ("-1.5e-28", Misfit::TooFine),
        ] {
            assert_eq!(read(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn reads_what_other_systems_write() {
        for (text, expected) in [
            ("+1.5", "1.5"),
            ("-007.50", "-7.5"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5"),
            ("000", "0"),
            ("1.5e3", "1500"),
            ("9007199254740993.25", "9007199254740993.25"),
            ("", "null"),
            (".", "null"),
            ("-", "null"),
            ("+-5", "null"),
            ("e5", "null"),
            (".e5", "null"),
            ("Ann", "null"),
            ("inf", "null"),
        ] {
            assert_eq!(shown(parse_spelled(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_double_is_the_shortest_decimal_that_denotes_it() {
        for (number, expected) in [
            (367_825.03, "367825.03"),
            (0.1, "0.1"),
            (1e21, "1000000000000000000000"),
            (5e-324, "0"),
            (-5.551115123125783e-12, "-0.000000000005551115123125783"),
            (5.551115123125783e-17, "0.0000000000000000555111512313"),
            (f64::MAX, "null"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(shown(of_double(number)), expected);
        }
        assert_eq!(shown(of_single(0.1)), "0.1");
        assert_eq!(shown(of_unscaled(&[0x05, 0xf5, 0xe1, 0x00], 2)), "1000000");
        assert_eq!(shown(of_unscaled(&[0xff, 0x85], 2)), "-1.23");
        assert_eq!(shown(of_unscaled(&[0x7f; 16], 2)), "null");
    }

    #[test]
    fn quotients_are_rounded_half_even_at_28_digits() {
        for (a, b, expected) in [
            ("1", "3", "0.3333333333333333333333333333"),
            ("2", "3", "0.6666666666666666666666666667"),
            ("10", "3", "3.333333333333333333333333333"),
            ("2000", "3", "666.6666666666666666666666667"),
            ("1", "-8", "-0.125"),
            ("6", "2", "3"),
            ("5", "0.0000000000000000000000000001", "50000000000000000000000000000"),
            ("9", "0.0000000000000000000000000001", "null"),
            ("1", "0", "null"),
            ("0.0000000000000000000000000001", "2", "0"),
            ("0.0000000000000000000000000003", "2", "0.0000000000000000000000000002"),
        ] {
            assert_eq!(shown(divide(parse(a).expect(a), parse(b).expect(b))), expected, "{a} / {b}");
        }
    }

    #[test]
    fn a_sum_is_what_is_in_it_and_nothing_of_what_went() {
        let numbers = ["367825.03", "582094.43", "50080.54"].map(|text| parse(text).expect(text));
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        assert_eq!(shown(sum.total()), "1000000");
        let great = parse("70000000000000000000000000000").expect("within");
        let small = parse("0.0000000000000000000000000001").expect("within");
        [great, great, small].iter().for_each(|number| sum.add(*number));
        assert_eq!(sum.total(), None, "too great");
        [great, great].iter().for_each(|number| sum.remove(*number));
        numbers.iter().for_each(|number| sum.remove(*number));
        assert_eq!(sum.total(), Some(small));
        sum.remove(small);
        assert_eq!(sum, Sum::default());
        sum.remove(parse("0.5").expect("a half"));
        assert_eq!(shown(sum.total()), "-0.5");
    }
}
