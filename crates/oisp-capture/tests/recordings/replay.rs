//! Replaying raw recordings.

use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{closed, content, content_at, header, one_of_each};
use oisp_capture::raw::{RawReader, RawWriter};
use oisp_capture::{
    CaptureError, CaptureEvent, CaptureSource, CloseCause, ReplaySource, ReplaySpeed, SpeedFactor, Stop,
};

/// Events, each followed by so many answers.
fn recording(events: &[(CaptureEvent, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut into = RawWriter::new(&mut bytes, &header()).unwrap();
    let mut number = 0_u32;
    for (event, answers) in events {
        into.event(event).unwrap();
        for _ in 0..*answers {
            into.answer(&number).unwrap();
            number += 1;
        }
    }
    into.finish().unwrap();
    drop(into);
    bytes
}

fn source(
    bytes: &[u8],
    speed: ReplaySpeed,
    answer: impl FnMut(u32) + Send + 'static,
) -> ReplaySource<u32, &[u8]> {
    ReplaySource::new(RawReader::new(bytes).unwrap(), speed, answer)
}

#[test]
fn events_come_as_they_were_and_their_answers_are_there_before_them() {
    let events: Vec<_> = one_of_each().into_iter().zip([2, 0, 1].into_iter().cycle()).collect();
    let bytes = recording(&events);
    let answers = Arc::new(Mutex::new(0));
    let given = Arc::clone(&answers);
    let mut replay = source(&bytes, ReplaySpeed::Unpaced, move |number| {
        assert_eq!(*given.lock().unwrap(), number);
        *given.lock().unwrap() += 1;
    });
    let mut delivered = Vec::new();
    let mut expected = 0;
    let stop = Stop::new().unwrap();
    replay
        .run(&stop, &mut |event| {
            expected += events[delivered.len()].1;
            assert_eq!(*answers.lock().unwrap(), expected, "at event {}", delivered.len());
            delivered.push(event);
        })
        .unwrap();
    assert_eq!(delivered, events.into_iter().map(|(event, _)| event).collect::<Vec<_>>());
    assert_eq!(replay.delivered(), delivered.len() as u64);
}

#[test]
fn recording_that_ends_early_closes_its_connections_and_is_an_error() {
    let bytes = recording(&[(content(3, b"hello"), 0)]);
    let bytes = &bytes[..bytes.len() - 24];
    let mut delivered = Vec::new();
    let result = source(bytes, ReplaySpeed::Unpaced, drop)
        .run(&Stop::new().unwrap(), &mut |event| delivered.push(event));
    let Err(CaptureError::Source { reason, .. }) = result else { panic!("{result:?}") };
    assert!(reason.contains("ends early"), "{reason}");
    let [first, CaptureEvent::ConnectionClosed(end)] = &*delivered else { panic!("{delivered:?}") };
    assert_eq!(first, &content(3, b"hello"));
    assert_eq!((end.cause, end.sent_end, end.received_end), (CloseCause::RecordingEnded, 8, 0));
}

#[test]
fn whole_recording_gets_no_end_that_it_did_not_have() {
    let events = [(content(0, b"hello"), 0), (closed(10, CloseCause::Released), 0)];
    let bytes = recording(&events);
    let mut count = 0;
    source(&bytes, ReplaySpeed::Unpaced, drop).run(&Stop::new().unwrap(), &mut |_| count += 1).unwrap();
    assert_eq!(count, 2);
}

#[test]
fn pauses_shrink_by_the_factor_and_a_stop_ends_a_pause_that_would_never_end() {
    // A thousand seconds, a million times as fast; then a time that never comes.
    let events = [
        (content_at(9, 0, b"a"), 0),
        (content_at(1_000_000_000_009, 1, b"b"), 0),
        (content_at(u64::MAX, 2, b"c"), 0),
    ];
    let bytes = recording(&events);
    let stop = Stop::new().unwrap();
    let mut delivered = Vec::new();
    let speed = ReplaySpeed::Times(SpeedFactor::new(1e6).unwrap());
    let other = stop.clone();
    let mut stopper = None;
    source(&bytes, speed, drop)
        .run(&stop, &mut |event| {
            delivered.push(event);
            if delivered.len() == 2 {
                let other = other.clone();
                stopper = Some(thread::spawn(move || other.request()));
            }
        })
        .unwrap();
    stopper.unwrap().join().unwrap();
    assert_eq!(delivered[..2], [events[0].0.clone(), events[1].0.clone()]);
    assert!(
        matches!(&delivered[2..], [CaptureEvent::ConnectionClosed(end)] if end.sent_end == 2),
        "{delivered:?}"
    );
}

#[test]
fn speed_is_a_positive_number_or_the_most_there_is() {
    assert_eq!("max".parse(), Ok(ReplaySpeed::Unpaced));
    assert_eq!("1".parse(), Ok(ReplaySpeed::RECORDED));
    assert_eq!("0.5".parse(), Ok(ReplaySpeed::Times(SpeedFactor::new(0.5).unwrap())));
    for text in ["0", "-1", "NaN", "inf", "", "fast", "10x"] {
        let error = text.parse::<ReplaySpeed>().unwrap_err();
        assert!(error.to_string().contains("above 0"), "{error}");
    }
}
