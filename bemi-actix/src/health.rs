use actix_web::http::StatusCode;
use actix_web::{HttpResponse, Route, web};
use bemi_diesel::{CaptureObserver, State};
use serde_json::json;

/// A health check of the capture that runs in this process, for a load balancer or a monitor.
///
/// It answers `200 OK` while the capture reads the log or stands by for another one, and `503 Service
/// Unavailable` otherwise, with a JSON object in either case:
///
/// ```json
/// {"healthy": true, "state": "streaming", "lag_bytes": 312, "retained_bytes": 16781488, "delay_seconds": 0.002,
///  "last_committed_at": "2026-11-24T15:36:07.123456Z", "changes": 17, "transactions": 9, "reconnects": 0}
/// ```
///
/// What is not known yet is `null`. Nothing in it comes from a row, a context or an error.
///
/// A capture that is not well loses nothing and stops no request, as the changes wait in the source's log: ring
/// somebody, rather than take the application out of service.
///
/// ```no_run
/// use actix_web::{App, HttpServer};
/// use bemi_actix::CaptureHealth;
/// use bemi_diesel::Capture;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let capture = Capture::builder("postgres://localhost/app").start().await?;
/// let health = CaptureHealth::new(capture.observer()).max_lag_bytes(256 << 20);
/// HttpServer::new(move || App::new().route("/health/capture", health.clone().route()))
///     .bind(("127.0.0.1", 8080))?
///     .run()
///     .await?;
/// capture.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CaptureHealth {
    observer: CaptureObserver,
    max_lag_bytes: Option<u64>,
}

impl CaptureHealth {
    /// One that asks `observer`.
    #[must_use]
    pub fn new(observer: CaptureObserver) -> Self {
        Self {
            observer,
            max_lag_bytes: None,
        }
    }

    /// A capture that is behind by more than this many bytes of log is not well either. Defaults to any
    /// number of bytes.
    #[must_use]
    pub fn max_lag_bytes(mut self, bytes: u64) -> Self {
        self.max_lag_bytes = Some(bytes);
        self
    }

    /// The answer as it is now.
    #[must_use]
    pub fn check(&self) -> HttpResponse {
        let status = self.observer.status();
        let (state, works) = match status.state {
            State::Starting => ("starting", false),
            State::StandingBy => ("standing_by", true),
            State::Streaming => ("streaming", true),
            State::Reconnecting(_) => ("reconnecting", false),
            State::Stopped => ("stopped", false),
            State::Failed(_) => ("failed", false),
            _ => ("unknown", false),
        };
        let behind = self
            .max_lag_bytes
            .is_some_and(|most| status.lag_bytes.is_some_and(|lag| lag > most));
        let healthy = works && !behind;
        let code = if healthy {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        HttpResponse::build(code).json(json!({
            "healthy": healthy,
            "state": state,
            "lag_bytes": status.lag_bytes,
            "retained_bytes": status.retained_bytes,
            "delay_seconds": status.delay.map(|delay| delay.as_secs_f64()),
            "last_committed_at": status.last_committed_at,
            "changes": status.changes,
            "transactions": status.transactions,
            "reconnects": status.reconnects,
        }))
    }

    /// A route that gives it, to `GET` and `HEAD`.
    #[must_use]
    pub fn route(self) -> Route {
        web::route()
            .guard(actix_web::guard::Any(actix_web::guard::Get()).or(actix_web::guard::Head()))
            .to(move || {
                let answer = self.check();
                async move { answer }
            })
    }
}
