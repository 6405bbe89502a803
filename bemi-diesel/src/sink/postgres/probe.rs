//! Which of a few changes are refused.

use std::pin::Pin;

use futures_util::future::poll_immediate;

use super::copy::{INSERT, Row};
use super::parts::UNDO_PART;
use super::{PostgresSink, STORING};
use crate::Change;
use crate::error::Error;

/// What the server says, once it has.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl PostgresSink {
    /// What the destination says of each of `changes` on its own. Nothing of it stays; a part must have begun.
    ///
    /// All of it is sent before the first answer is waited for: where many are refused, waiting for each would be
    /// most of the time.
    pub(super) async fn probe(&self, changes: &[&Change]) -> Result<Vec<Result<(), Error>>, Error> {
        let client = &self.connection.client;
        let insert = self
            .connection
            .answer(STORING, client.prepare(INSERT))
            .await?;
        let (connection, encoding, insert) = (&self.connection, &self.encoding, &insert);
        let mut sent = Vec::with_capacity(2 * changes.len());
        for change in changes {
            let inserting = async move {
                let row = Row::of(change, encoding);
                let binds = row.binds();
                let inserting = client.execute(insert, &binds);
                connection.answer(STORING, inserting).await.map(|_rows| ())
            };
            sent.push(send(Box::pin(inserting)).await);
            sent.push(send(Box::pin(self.run(UNDO_PART))).await);
        }
        let mut answers = Vec::with_capacity(changes.len());
        let mut sent = sent.into_iter();
        while let (Some(inserted), Some(undone)) = (sent.next(), sent.next()) {
            answers.push(inserted.await);
            undone.await?;
        }
        Ok(answers)
    }
}

/// Sends a statement, which happens when its answer is first asked for.
async fn send(mut answer: Answer<'_>) -> Answer<'_> {
    match poll_immediate(&mut answer).await {
        Some(answered) => Box::pin(std::future::ready(answered)),
        None => answer,
    }
}
