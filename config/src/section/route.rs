//! `[[route]]`

use std::time::Duration;

use causeway_proto::id::{RegionId, RouteName, SourceSeq, StoredAt, StreamName};
use causeway_proto::subject::SubjectFilter;
use jiff::Timestamp;
use toml::de::DeValue;

use super::read_regions;
use crate::error::Place;
use crate::plan::{CreatePlan, ExactlyOnce, Fence, PersistMode, Priority, Start, Storage, Writers};
use crate::read::{Placed, Table, Value};
use crate::unit::{ByteSize, parse_duration};

/// The server refuses shorter ages and duplicate windows.
const SERVER_SPAN_MIN: Duration = Duration::from_millis(100);
/// The server refuses more replicas.
const REPLICAS_MAX: u64 = 5;
/// JetStream's limits are signed numbers.
const COUNT_MAX: u64 = i64::MAX.unsigned_abs();

pub(crate) struct RouteDraft {
    pub(crate) place: Place,
    pub(crate) name: Option<Placed<RouteName>>,
    pub(crate) from: Option<Placed<RegionId>>,
    pub(crate) to: Vec<Placed<RegionId>>,
    pub(crate) stream: Option<Placed<StreamName>>,
    pub(crate) subjects: Vec<Placed<SubjectFilter>>,
    /// Where the file names it.
    pub(crate) target: Option<Placed<StreamName>>,
    pub(crate) start: Start,
    pub(crate) priority: Option<Priority>,
    pub(crate) dedupe_ids: Option<Placed<bool>>,
    pub(crate) exactly_once: ExactlyOnce,
    pub(crate) writers: Option<Placed<Writers>>,
    pub(crate) fence: Fence,
    pub(crate) create: Option<Placed<CreatePlan>>,
}

impl RouteDraft {
    /// The target stream: the one named, else the source's name.
    pub(crate) fn target(&self) -> Option<&Placed<StreamName>> {
        self.target.as_ref().or(self.stream.as_ref())
    }

    /// Whether the file narrows the subjects at all.
    pub(crate) fn is_filtered(&self) -> bool {
        !self.subjects.iter().any(|filter| filter.is_all())
    }
}

pub(super) fn read(table: &Table<'_>) -> RouteDraft {
    let name = table
        .required("name")
        .and_then(|value| value.parse(RouteName::new));
    let all = || Placed {
        value: SubjectFilter::all(),
        place: table.place.child("subjects"),
    };
    let priorities = [
        ("live", Priority::Live),
        ("normal", Priority::Normal),
        ("bulk", Priority::Bulk),
    ];
    let once = [
        ("always", ExactlyOnce::Always),
        ("window", ExactlyOnce::Window),
    ];
    let writers = [("route", Writers::Route), ("shared", Writers::Shared)];
    let fences = [
        ("connection", Fence::Connection),
        ("sequence", Fence::Sequence),
    ];
    RouteDraft {
        place: table.place.clone(),
        name,
        from: table
            .required("from")
            .and_then(|value| value.parse(RegionId::new)),
        to: table
            .required("to")
            .map_or(Vec::new(), |value| read_regions(&value)),
        stream: table
            .required("stream")
            .and_then(|value| value.parse(StreamName::new)),
        subjects: table
            .optional("subjects")
            .map_or_else(|| vec![all()], |value| read_filters(&value)),
        target: table
            .optional("target")
            .and_then(|value| value.parse(StreamName::new)),
        start: table
            .optional("start")
            .and_then(|value| read_start(&value))
            .unwrap_or(Start::First),
        priority: read_word(table, "priority", &priorities).map(|priority| priority.value),
        dedupe_ids: table
            .optional("dedupe_ids")
            .and_then(|value| value.boolean()),
        exactly_once: read_word(table, "exactly_once", &once)
            .map_or(ExactlyOnce::Always, |o| o.value),
        writers: read_word(table, "writers", &writers),
        fence: read_word(table, "fence", &fences).map_or(Fence::Connection, |fence| fence.value),
        create: table
            .optional("create")
            .and_then(|value| read_create(&value)),
    }
}

/// A list of subject filters; an empty one is a fault.
pub(super) fn read_filters(value: &Value<'_>) -> Vec<Placed<SubjectFilter>> {
    let Some(elements) = value.list("a NATS subject filter") else {
        return Vec::new();
    };
    if elements.is_empty() {
        value.fail_because::<()>("at least one");
    }
    elements
        .iter()
        .filter_map(|element| element.parse(SubjectFilter::parse))
        .collect()
}

fn read_word<T: Copy>(table: &Table<'_>, name: &str, words: &[(&str, T)]) -> Option<Placed<T>> {
    table.optional(name)?.word(words)
}

fn read_start(value: &Value<'_>) -> Option<Start> {
    let time = |text: &str| match text.parse::<Timestamp>() {
        Ok(time) => u64::try_from(time.as_nanosecond())
            .map(|nanos| Start::Time(StoredAt(nanos)))
            .or_else(|_| value.fail_because("the time must lie after 1970").ok_or(())),
        Err(_) => value.fail().ok_or(()),
    };
    match value.raw() {
        DeValue::String(text) => match text.as_ref() {
            "first" => Some(Start::First),
            "new" => Some(Start::New),
            text => time(text).ok(),
        },
        DeValue::Datetime(datetime) if datetime.offset.is_none() => {
            value.fail_because("the time zone is missing, such as a Z at the end")
        }
        DeValue::Datetime(datetime) => time(&datetime.to_string()).ok(),
        _ => Some(Start::Sequence(SourceSeq(
            value.integer(1..=u64::MAX)?.value,
        ))),
    }
}

fn read_create(value: &Value<'_>) -> Option<Placed<CreatePlan>> {
    match value.raw() {
        DeValue::Boolean(false) => None,
        DeValue::Boolean(true) => Some(value.place(CreatePlan::default())),
        DeValue::Table(_) => Some(value.place(read_create_table(&value.table()?))),
        _ => value.fail(),
    }
}

fn read_create_table(table: &Table<'_>) -> CreatePlan {
    let default = CreatePlan::default();
    let storages = [("file", Storage::File), ("memory", Storage::Memory)];
    let number = |name, range| Some(table.optional(name)?.integer(range)?.value);
    let span = |name| {
        let value = table.optional(name)?;
        let span = value.parse(parse_duration)?;
        if *span >= SERVER_SPAN_MIN {
            Some(span)
        } else {
            value.fail()
        }
    };
    let max_age = span("max_age");
    let window = span("duplicate_window");
    if let (Some(max_age), Some(window)) = (&max_age, &window)
        && window.value > max_age.value
    {
        let found = format!("{:?}", window.value);
        let wanted = "a window no longer than max_age (the server refuses it)";
        table
            .report()
            .conflict(&window.place, found, wanted, &max_age.place);
    }
    let max_bytes = table.optional("max_bytes").and_then(|value| {
        let bytes = value.parse(str::parse::<ByteSize>)?.value;
        if bytes.0 <= COUNT_MAX {
            Some(bytes)
        } else {
            value.fail()
        }
    });
    let replicas = table
        .optional("replicas")
        .and_then(|value| value.integer(1..=REPLICAS_MAX));
    let storage = read_word(table, "storage", &storages);
    let persist_mode = read_persist_mode(table, replicas.as_ref(), storage.as_ref());
    let max_age = max_age.map(|age| age.value);
    let window = window.map_or(default.duplicate_window, |window| window.value);
    CreatePlan {
        replicas: replicas
            .and_then(|replicas| u8::try_from(replicas.value).ok())
            .unwrap_or(default.replicas),
        storage: storage.map_or(default.storage, |storage| storage.value),
        max_age,
        max_bytes,
        max_msgs: number("max_msgs", 1..=COUNT_MAX),
        // The default must not make a short max_age invalid.
        duplicate_window: max_age.map_or(window, |age| window.min(age)),
        allow_batched: table
            .optional("allow_batched")
            .and_then(|value| value.boolean())
            .map_or(default.allow_batched, |allow| allow.value),
        persist_mode,
    }
}

fn read_persist_mode(
    table: &Table<'_>,
    replicas: Option<&Placed<u64>>,
    storage: Option<&Placed<Storage>>,
) -> PersistMode {
    let modes = [
        ("default", PersistMode::Default),
        ("async", PersistMode::Async),
    ];
    let Some(mode) = read_word(table, "persist_mode", &modes) else {
        return PersistMode::Default;
    };
    if mode.value == PersistMode::Async {
        let several = replicas.filter(|replicas| replicas.value > 1);
        let in_memory = storage.filter(|storage| storage.value == Storage::Memory);
        let others = several
            .map(|it| &it.place)
            .or_else(|| in_memory.map(|it| &it.place));
        if let Some(other) = others {
            let wanted = "\"default\", or one replica on disk (the server refuses others)";
            table
                .report()
                .conflict(&mode.place, "\"async\"", wanted, other);
        }
    }
    mode.value
}
