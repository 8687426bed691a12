//! An image from a person on this host to the exporter that writes it.
//!
//! ```text
//!   open, data, data, … end ─> feed ══bounded══> Upload ─> exporter ─> opened, progress, … done
//! ```
//!
//! Only the message `end` ends an image well: the end of the requests alone may be that of a command
//! that was killed.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use rigd_driver::{ChunkSender, DriverError, TransferPhase, TransferProgress, upload_channel};
use rigd_proto::{
    control::v1::{
        self as control, FlashPhase, FlashProgress, FlashRequest, FlashResponse, OpenFlash,
        flash_request::Act, flash_response::News,
    },
    value,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::service::{WAITING, while_read};
use crate::daemon::handle::{ANSWER_LIMIT, Ask, Exporters, Flash, FlashNews};

/// Largest piece handed over, as those of clients: the pieces that wait are counted, not weighed.
const PIECE: usize = 64 * 1024;
/// How long nothing may come while the card waits. A download that is piped in pauses for less; a
/// command that was stopped with Ctrl-Z must not hold the card for ever.
const SILENCE: Duration = Duration::from_secs(300);

/// Begins a write; what is told of it.
///
/// # Errors
/// INVALID_ARGUMENT: the first message opens nothing. NOT_FOUND, UNAVAILABLE: there is no such
/// exporter, or it does not answer.
pub(super) async fn flash(
    exporters: &Exporters,
    mut requests: Streaming<FlashRequest>,
) -> Result<impl Stream<Item = Result<FlashResponse, Status>> + Send + use<>, Status> {
    let first = timeout(ANSWER_LIMIT, requests.message()).await;
    let first = first.unwrap_or_else(|_| Ok(None))?;
    let Some(Act::Open(open)) = first.and_then(|request| request.act) else {
        let text = "the first message must open a card";
        return Err(Status::invalid_argument(text));
    };
    let OpenFlash {
        exporter,
        path,
        image,
        size,
        options,
        force,
    } = open;
    let options = options.map(value::to_json).transpose();
    let options = options.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let handle = exporters.find(&exporter)?;
    let (chunks, upload) = upload_channel();
    let (news_tx, news) = mpsc::channel(WAITING);
    let ask = Flash {
        path,
        image,
        upload: upload.with_size(size),
        options,
        force,
        news: news_tx,
    };
    handle.ask(Ask::Flash(ask)).await?;
    let news = ReceiverStream::new(news).map(|news| news.map(response));
    Ok(while_read(news, feed(requests, chunks)))
}

/// Moves the bytes to the card at the card's pace.
async fn feed(
    mut requests: impl Stream<Item = Result<FlashRequest, Status>> + Unpin,
    chunks: ChunkSender,
) {
    let broken = loop {
        match timeout(SILENCE, requests.next()).await {
            Ok(Some(Ok(FlashRequest { act }))) => match act {
                Some(Act::Data(bytes)) => {
                    if !hand_over(&chunks, bytes).await {
                        // The write is over, and says itself why.
                        return;
                    }
                }
                Some(Act::End(control::FlashEnd {})) => {
                    chunks.end().await;
                    return;
                }
                Some(Act::Open(_)) | None => {
                    let text = "upload broken: a message was neither data nor the end of the data";
                    break DriverError::InvalidArgument(text.into());
                }
            },
            Ok(None | Some(Err(_))) => {
                let text = "upload broken: the client went away before the end of its data";
                break DriverError::Unavailable(text.into());
            }
            Err(_) => {
                break DriverError::Timeout(format!(
                    "upload broken: nothing more came of the image for {} s",
                    SILENCE.as_secs()
                ));
            }
        }
    };
    chunks.fail(broken).await;
}

async fn hand_over(chunks: &ChunkSender, mut bytes: Bytes) -> bool {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        if !chunks.send(piece).await {
            return false;
        }
    }
    true
}

fn response(news: FlashNews) -> FlashResponse {
    let news = match news {
        FlashNews::Opened(path) => News::Opened(path),
        FlashNews::Progress(progress) => News::Progress(message(progress)),
        FlashNews::Done(result) => News::Done(value::from_json(result)),
    };
    FlashResponse { news: Some(news) }
}

fn message(progress: TransferProgress) -> FlashProgress {
    let phase = match progress.phase {
        TransferPhase::Write => FlashPhase::Write,
        TransferPhase::Sync => FlashPhase::Sync,
        TransferPhase::Verify => FlashPhase::Verify,
    };
    FlashProgress {
        phase: phase.into(),
        done: progress.done,
        total: progress.total,
        // One that does not fit would have begun before the earth was there.
        spent: progress.spent.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use rigd_driver::Upload;
    use tokio::time::Instant;

    use super::*;

    fn request(act: Act) -> Result<FlashRequest, Status> {
        Ok(FlashRequest { act: Some(act) })
    }

    async fn read(mut upload: Upload) -> Result<usize, DriverError> {
        let mut read = 0;
        while let Some(bytes) = upload.next().await? {
            assert!(bytes.len() <= PIECE);
            read += bytes.len();
        }
        Ok(read)
    }

    async fn fed(requests: Vec<Result<FlashRequest, Status>>) -> Result<usize, DriverError> {
        let (chunks, upload) = upload_channel();
        tokio::join!(feed(stream::iter(requests), chunks), read(upload)).1
    }

    #[tokio::test]
    async fn only_the_word_that_it_is_complete_makes_an_image_complete() {
        let data = || request(Act::Data(vec![7; 3 * PIECE + 1].into()));
        let end = request(Act::End(control::FlashEnd {}));
        assert_eq!(fed(vec![data(), data(), end]).await.unwrap(), 6 * PIECE + 2);
        let open = request(Act::Open(OpenFlash::default()));
        for broken in [
            vec![data()],
            vec![data(), Err(Status::cancelled("gone"))],
            vec![data(), open],
        ] {
            let text = fed(broken).await.unwrap_err().to_string();
            assert!(text.starts_with("upload broken: "), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_says_nothing_holds_no_card_for_ever() {
        let (chunks, upload) = upload_channel();
        let requests = stream::iter([request(Act::Data("abc".into()))]).chain(stream::pending());
        let begun = Instant::now();
        let (_, read) = tokio::join!(feed(requests, chunks), read(upload));
        assert!(matches!(read, Err(DriverError::Timeout(_))), "{read:?}");
        assert_eq!(begun.elapsed(), SILENCE);
    }
}
