//! Formats the parts that several lines of the output share.

use tonic::Status;
use tonic_types::{ErrorDetail, StatusExt};

use crate::api::{EntryError, RecommendResponse, ScoredItem};

/// Formats a value with two decimals, rounded the same way in every language: floor(100 x + 0.5) / 100.
pub fn number(value: f32) -> String {
    format!("{:.2}", (100.0 * f64::from(value) + 0.5).floor() / 100.0)
}

pub fn print_scored(label: &str, results: &[ScoredItem]) {
    for (i, result) in results.iter().enumerate() {
        let title = result.item.as_ref().map_or("", |item| &item.title);
        println!("{label} {} {} {} {title}", i + 1, result.item_id, number(result.predicted_rating()));
    }
}

/// Prints an entry of BatchRecommend or a message of StreamRecommend: both hold a response or an error.
pub fn print_result(label: &str, result: Result<&RecommendResponse, &EntryError>) {
    match result {
        Ok(response) => print_scored(label, &response.results),
        Err(error) => println!("{label} error {}", error.reason),
    }
}

/// Returns the details of a failed call, one per line: message, reason and invalid fields.
pub fn describe(failure: &Status) -> Vec<String> {
    let mut lines = vec![format!("error {} {}", failure.code() as i32, failure.message())];
    for detail in failure.get_error_details_vec() {
        match detail {
            ErrorDetail::ErrorInfo(info) => lines.push(format!("reason {} {}", info.reason, info.domain)),
            ErrorDetail::BadRequest(bad_request) => lines.extend(
                bad_request
                    .field_violations
                    .iter()
                    .map(|violation| format!("violation {} {}", violation.field, violation.description)),
            ),
            _ => {}
        }
    }
    lines
}
