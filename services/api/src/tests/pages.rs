//! Requests that pages of other sites make.

use super::*;

/// An image or a script of another site's page, and a link in it.
#[tokio::test]
async fn pages_of_others_may_lead_here_and_not_ask() {
    let one = Arc::new(One::default());
    for (mode, expected) in [("no-cors", "403"), ("navigate", "200")] {
        let request = Request::get("/v1/segments").header("host", "localhost:8080");
        let request = request.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", mode);
        let answer = ask(router(&one, None), "127.0.0.1:1", request.body(Body::empty()).unwrap()).await;
        assert!(answer.starts_with(expected), "{mode}: expected {expected}\n{answer}");
    }
}
