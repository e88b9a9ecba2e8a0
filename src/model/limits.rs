//! The limits of every field, with units. They are part of the contract: raising one is a format
//! decision, lowering one breaks users.

/// Most characters in a collective's name.
pub const MAX_COLLECTIVE_NAME_CHARS: usize = 255;
/// Most components of an embedding.
pub const MAX_DIMENSION: usize = 4096;
/// Most bytes of an experience's content.
pub const MAX_CONTENT_BYTES: usize = 100 * 1024;
/// Most bytes of an insight's content.
pub const MAX_INSIGHT_CONTENT_BYTES: usize = 50 * 1024;
/// Most sources of an insight.
pub const MAX_INSIGHT_SOURCES: usize = 100;
/// Most domains of an experience.
pub const MAX_DOMAINS: usize = 50;
/// Most characters of one domain.
pub const MAX_DOMAIN_CHARS: usize = 100;
/// Most tags of an experience.
pub const MAX_TAGS: usize = 50;
/// Most characters of a tag's key.
pub const MAX_TAG_KEY_CHARS: usize = 100;
/// Most characters of a tag's value.
pub const MAX_TAG_VALUE_CHARS: usize = 200;
/// Most related files of an experience.
pub const MAX_RELATED_FILES: usize = 100;
/// Most characters of one related file.
pub const MAX_RELATED_FILE_CHARS: usize = 500;
/// Most characters of an agent's name.
pub const MAX_AGENT_CHARS: usize = 256;
/// Most characters of a task's or owner's name.
pub const MAX_NAME_CHARS: usize = 256;
/// Most bytes of an idempotency key.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;
/// Most instances that can have applied one experience; at 20 bytes each they stay below the other traits.
pub const MAX_APPLICATION_INSTANCES: usize = 1000;
/// Most bytes of all texts of an `ExperienceType` together; the same bound as the content, which
/// it stands beside.
pub const MAX_EXPERIENCE_TYPE_BYTES: usize = 100 * 1024;
/// Most bytes of a relation's metadata.
pub const MAX_RELATION_METADATA_BYTES: usize = 10 * 1024;
/// Most bytes of each text of an activity.
pub const MAX_ACTIVITY_TEXT_BYTES: usize = 1024;
/// Most bytes of the text of one query: as much as an experience may say.
pub const MAX_QUERY_BYTES: usize = 100 * 1024;
/// Most required and excluded words, phrases and prefixes of one query: each is looked for in texts.
pub const MAX_CONSTRAINTS: usize = 64;
/// Most results of one search.
pub const MAX_K: usize = 1000;
/// Most items of one page.
pub const MAX_PAGE_LIMIT: usize = 1000;
/// Most queries of one `search_batch`.
pub const MAX_BATCH_QUERIES: usize = 1000;
/// Most ids of one `get_experiences`.
pub const MAX_GET_IDS: usize = 10_000;
/// Most duplicates that one recording is told of: enough to choose from, and few enough that finding more
/// would be a search's business.
pub const MAX_DUPLICATES: usize = 16;
/// Most values of one list of a `SearchFilter`.
pub const MAX_FILTER_VALUES: usize = 1000;
/// Candidates that one search may look at: beyond, an exact scan is faster.
pub const MAX_EF: usize = 10_000;
/// Most steps of one `neighbourhood`: beyond, everything is near everything.
pub const MAX_NEIGHBOURHOOD_DEPTH: usize = 8;
/// Most experiences of one `neighbourhood`.
pub const MAX_NEIGHBOURHOOD: usize = 1000;
