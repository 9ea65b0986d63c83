//! Sums and counts to which values are added and from which they are removed one by one.

use millrace_model::number::{self, Sum};
use millrace_model::{Decimal, Value};
use serde::{Deserialize, Serialize};

/// The values that count, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Values.
    pub values: u64,
    /// Distinct values, if they are kept separately.
    pub distinct: u64,
    /// The numbers among the values.
    numbers: u64,
    sum: Sum,
}

impl Totals {
    /// A value begins to count.
    pub fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::Int(number) => self.sum.add_whole(*number),
            Value::Decimal(number) => self.sum.add(*number),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Date(_) | Value::Time(_) | Value::List(_) | Value::Map(_) => return,
        }
        self.numbers += 1;
    }

    /// A value ceases to count.
    pub fn remove(&mut self, value: &Value) {
        self.values = self.values.saturating_sub(1);
        match value {
            Value::Int(number) => self.sum.remove_whole(*number),
            Value::Decimal(number) => self.sum.remove(*number),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Date(_) | Value::Time(_) | Value::List(_) | Value::Map(_) => return,
        }
        self.numbers = self.numbers.saturating_sub(1);
    }

    /// Null if it is too great.
    pub fn sum(&self) -> Value {
        Value::number_or_null(self.sum.total())
    }

    /// Null if there is no number.
    pub fn average(&self) -> Value {
        let sum = self.sum.total().filter(|_| self.numbers > 0);
        Value::number_or_null(sum.and_then(|sum| number::divide(sum, Decimal::from(self.numbers))))
    }
}
