//! Contenders in turns, and what their times say.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::clients::Contender;
use crate::workload::Workload;

/// How long one turn of the plain connection is to take: short, so that what else the machine does hits
/// the whole round alike.
const TURN: Duration = Duration::from_millis(4);

/// Rounds that do not count: a prepared statement has its final plan after five executions.
const WARM_UP: u32 = 6;

/// Fewer would have no quartiles worth the name.
const FEWEST_ROUNDS: usize = 15;

/// How one contender did.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// Of one operation.
    pub(crate) time: Duration,
    /// How fast it is relative to the first contender: lower quartile, median, upper quartile.
    pub(crate) relative: [f64; 3],
}

/// Lets `contenders` do `workload` in turns, for about `share` each.
pub(crate) fn race(
    contenders: &mut [Contender],
    workload: Workload,
    share: Duration,
) -> Result<Vec<Outcome>, Box<dyn Error>> {
    let mut once = Duration::MAX;
    for _ in 0..WARM_UP {
        for (at, contender) in contenders.iter_mut().enumerate() {
            let time = contender.turn(workload, 2)? / 2;
            if at == 0 {
                once = once.min(time);
            }
        }
    }
    let times = (TURN.as_nanos() / once.as_nanos().max(1)).clamp(1, 200);
    let times = u32::try_from(times)?;

    let mut seconds = vec![Vec::new(); contenders.len()];
    let whole = share * u32::try_from(contenders.len())?;
    let started = Instant::now();
    for round in 0.. {
        if round >= FEWEST_ROUNDS && started.elapsed() >= whole {
            break;
        }
        // Whoever comes first, or after whom, changes with the round.
        for step in 0..contenders.len() {
            let at = match round % 2 {
                0 => (round / 2 + step) % contenders.len(),
                _ => (round / 2 + contenders.len() - step) % contenders.len(),
            };
            seconds[at].push(contenders[at].turn(workload, times)?.as_secs_f64());
        }
    }
    let first = seconds[0].clone();
    Ok(seconds
        .into_iter()
        .map(|own| {
            let ratios = first.iter().zip(&own).map(|(first, own)| first / own);
            Outcome {
                relative: quartiles(ratios.collect()),
                time: Duration::from_secs_f64(quartiles(own)[1] / f64::from(times)),
            }
        })
        .collect())
}

/// The quartiles of `values`, of which there is at least one.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
