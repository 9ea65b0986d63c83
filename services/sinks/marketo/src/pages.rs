//! Reads of several pages.

use millrace_marketo::{CallError, Client, Parameters, result};

/// The pages of a read.
pub struct Pages {
    path: String,
    parameters: Parameters,
    token: Option<String>,
    ended: bool,
}

impl Pages {
    pub fn new(path: String, parameters: Parameters) -> Pages {
        Pages {
            path,
            parameters,
            token: None,
            ended: false,
        }
    }

    /// The next page's rows; `None` after the last one.
    pub async fn next(&mut self, client: &Client) -> Result<Option<Vec<serde_json::Value>>, CallError> {
        if self.ended {
            return Ok(None);
        }
        let mut parameters = self.parameters.clone();
        parameters.extend(self.token.take().map(|token| ("nextPageToken", token)));
        let envelope = client.get(&self.path, &parameters).await?;
        self.token = envelope["nextPageToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
        self.ended = self.token.is_none();
        Ok(Some(result(&envelope).to_vec()))
    }
}
