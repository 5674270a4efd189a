//! Filter of qlog records, for logs that must not grow with the transfer. It keeps events of paths, recovery and the
//! connection, events of single packets around given times only, and no more than a given size.
//!
//! Works on whole records of a JSON text sequence (RFC 7464), whatever engine has written them.

use std::time::Duration;

/// Which records are kept. By default all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Times since time zero around which events of single packets are kept; None keeps them always.
    packets_around: Option<Vec<Duration>>,
    /// Size of all logs of this process, in bytes, and how much of it is used.
    room: Option<Room>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Room {
    size: u64,
    used: u64,
}

/// Records that the filter has left out of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Records that were left out.
    pub(crate) records: u64,
    /// Their size.
    pub(crate) bytes: u64,
}

/// Before and after each time.
const AROUND: Duration = Duration::from_secs(5);
/// Shares of the room that classes may fill up to, in percent. Events that come all the time must leave room for those of
/// packets, which come around steps only.
const FREQUENT_UP_TO: u64 = 40;
const PACKETS_UP_TO: u64 = 80;

/// How often an event happens in a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Event of a single packet or of the data that it moves.
    Packet,
    /// Event of recovery: one for most acknowledgements.
    Frequent,
    /// Event of a path or the connection.
    Rare,
}

impl Filter {
    /// Keeps events of single packets around these times only, and of everything no more than `bytes`.
    pub(crate) fn new(packets_around: Option<Vec<Duration>>, bytes: Option<u64>) -> Self {
        Self { packets_around, room: bytes.map(|size| Room { size, used: 0 }) }
    }

    pub(crate) fn keeps_everything(&self) -> bool {
        *self == Self::default()
    }

    /// The records that are kept.
    pub(crate) fn apply(
        &mut self,
        records: &[u8],
        since_zero: Option<Duration>,
        losses: &mut Losses,
    ) -> Vec<u8> {
        let near = self.packets_around.as_ref().is_none_or(|times| {
            since_zero.is_some_and(|now| times.iter().any(|time| time.abs_diff(now) <= AROUND))
        });
        let mut kept = Vec::with_capacity(records.len());
        for record in records.split_inclusive(|byte| *byte == b'\n') {
            let class = class(record);
            if (near || class != Class::Packet) && self.has_room(class, record.len() as u64) {
                kept.extend_from_slice(record);
            } else {
                losses.records += 1;
                losses.bytes += record.len() as u64;
            }
        }
        kept
    }

    fn has_room(&mut self, class: Class, bytes: u64) -> bool {
        let Some(room) = &mut self.room else { return true };
        let percent = match class {
            Class::Packet => PACKETS_UP_TO,
            Class::Frequent => FREQUENT_UP_TO,
            Class::Rare => 100,
        };
        let after = room.used.saturating_add(bytes);
        let fits = u128::from(after) * 100 <= u128::from(room.size) * u128::from(percent);
        if fits {
            room.used = after;
        }
        fits
    }
}

/// By the event's name without its category, which differs between drafts of qlog.
fn class(record: &[u8]) -> Class {
    let name = name(record).unwrap_or_default();
    match name.rsplit(|byte| *byte == b':').next().unwrap_or_default() {
        b"packet_sent"
        | b"packet_received"
        | b"packet_buffered"
        | b"packets_acked"
        | b"packet_dropped"
        | b"udp_datagrams_sent"
        | b"udp_datagrams_received"
        | b"udp_datagram_dropped"
        | b"stream_data_moved"
        | b"datagram_data_moved"
        | b"frames_processed"
        | b"timer_updated"
        | b"loss_timer_updated" => Class::Packet,
        b"recovery_metrics_updated" | b"metrics_updated" | b"packet_lost" | b"marked_for_retransmit" => {
            Class::Frequent
        }
        _ => Class::Rare,
    }
}

/// Value of the first key `name`. Both engines write it before the data.
fn name(record: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = b"\"name\":\"";
    let start = record.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = record.get(start..)?;
    value.get(..value.iter().position(|byte| *byte == b'"')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\u{1e}{\"file_schema\":\"urn:ietf:params:qlog:file:sequential\"}\n";
    const PACKET: &str = "\u{1e}{\"time\":1.5,\"name\":\"quic:packet_sent\",\"data\":{\"name\":\"x\"}}\n";
    const METRICS: &str = "\u{1e}{\"time\":1.5,\"name\":\"recovery:metrics_updated\",\"data\":{}}\n";
    const PATH: &str = "\u{1e}{\"time\":1.5,\"name\":\"quic:tuple_assigned\",\"data\":{}}\n";

    fn seconds(number: u64) -> Option<Duration> {
        Some(Duration::from_secs(number))
    }

    fn apply(filter: &mut Filter, text: &str, since_zero: Option<Duration>) -> (String, Losses) {
        let mut losses = Losses::default();
        let kept = filter.apply(text.as_bytes(), since_zero, &mut losses);
        (String::from_utf8(kept).unwrap(), losses)
    }

    #[test]
    fn packets_are_kept_around_the_times_and_everything_else_always() {
        let mut filter = Filter::new(Some(vec![Duration::from_secs(15)]), None);
        let all = [HEAD, PACKET, METRICS, PATH].concat();
        let without = [HEAD, METRICS, PATH].concat();
        for (now, expected) in
            [(None, &without), (seconds(9), &without), (seconds(10), &all), (seconds(20), &all)]
        {
            assert_eq!(apply(&mut filter, &all, now).0, **expected, "{now:?}");
        }
        let (kept, losses) = apply(&mut filter, &all, seconds(21));
        assert_eq!(kept, without);
        assert_eq!(losses, Losses { records: 1, bytes: PACKET.len() as u64 });
    }

    #[test]
    fn the_rarest_have_room_when_packets_have_none() {
        let mut filter = Filter::new(None, Some(100_000));
        let mut kept = 0;
        let mut counts = Vec::new();
        for record in [METRICS, PACKET, PATH] {
            let mut count = 0;
            while apply(&mut filter, record, None).1.records == 0 {
                kept += record.len();
                count += 1;
            }
            counts.push(count);
        }
        assert!(kept <= 100_000 && kept > 99_000, "{kept}");
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }

    #[test]
    fn any_bytes_are_kept_or_counted() {
        let mut filter = Filter::new(Some(vec![]), Some(1000));
        let bytes: Vec<u8> = (0..5000_u32).map(|number| (number * 7 % 256) as u8).collect();
        let mut losses = Losses::default();
        let kept = filter.apply(&bytes, None, &mut losses);
        assert_eq!(kept.len() as u64 + losses.bytes, 5000);
        assert!(kept.len() <= 1000);
    }
}
