//! Which operations are told apart?
//!
//! As few as say something of their own, and all of them known here: their names are labels of metrics and fields
//! of spans. A search is one operation whose answer says which plan it went by.

use crate::model::SearchPlan;

macro_rules! operations {
    ($($(#[$doc:meta])+ $variant:ident $name:literal $plan:literal,)+) => {
        /// What is done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation {
            $($(#[$doc])+ $variant,)+
        }

        impl Operation {
            /// All of them, each at its own number.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its label `operation`.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Its label `plan`; empty where it has none.
            pub(crate) const fn plan(self) -> &'static str {
                match self {
                    $(Self::$variant => $plan,)+
                }
            }
        }
    };
}

operations! {
    /// Records one experience.
    Record "record" "",
    /// Records several in one commit.
    RecordBatch "record_batch" "",
    /// Records one and ends the validity of another.
    Supersede "supersede" "",
    /// Changes fields or tags.
    Update "update" "",
    /// Archives or brings back.
    Archive "archive" "",
    /// Notes an application.
    Reinforce "reinforce" "",
    /// Deletes an experience.
    Delete "delete" "",
    /// Stores lines of an export.
    Import "import" "",
    /// Stores vectors of a re-embedding, or begins or ends one.
    Reembed "reembed" "",
    /// Reads in a transaction what it may have written itself.
    TransactionRead "transaction_read" "",
    /// Commits a transaction.
    Transaction "transaction" "",
    /// Creates, changes or deletes a collective.
    ChangeCollective "collective_change" "",
    /// Stores or deletes a relation.
    ChangeRelation "relation_change" "",
    /// Stores or deletes an insight.
    ChangeInsight "insight_change" "",
    /// Notes what an agent does, in the log.
    ChangeActivity "activity_change" "",
    /// Makes durable what is acknowledged.
    Flush "flush" "",
    /// Makes vectors of texts.
    Embed "embed" "",
    /// Reads one experience whose bytes are in memory; one of sixteen is timed.
    Get "get" "",
    /// Reads one experience whose bytes may come from the medium.
    GetFromMedium "get_from_medium" "",
    /// Reads many experiences or energies by id.
    GetMany "get_many" "",
    /// Reads a page of a collective.
    List "list" "",
    /// A search that found nothing to look at.
    SearchNothing "search" "nothing",
    /// A search by a scan of all codes.
    SearchExact "search" "exact",
    /// A search through graphs.
    SearchGraph "search" "graph",
    /// A search through graphs, by rows that pass the filter.
    SearchFilteredGraph "search" "filtered_graph",
    /// A search among the rows that pass the filter.
    SearchFiltered "search" "filtered",
    /// A search by words.
    SearchWords "search" "words",
    /// A search by words and vector.
    SearchHybrid "search" "hybrid",
    /// Answers how a search goes.
    Explain "explain" "",
    /// Scores candidates once more.
    Rerank "rerank" "",
    /// Reads what an agent should know.
    Context "context" "",
    /// Looks for duplicates of what is to be recorded.
    Duplicates "duplicates" "",
    /// Reads the relations of one experience; where the caller waits on its own thread, one of sixteen is timed.
    GetRelations "relation_get" "",
    /// Reads relations otherwise, or goes along them.
    ReadRelations "relation_read" "",
    /// Reads or searches insights.
    ReadInsights "insight_read" "",
    /// Reads what agents do.
    ReadActivities "activity_read" "",
    /// Counts what is in a collective.
    Stats "stats" "",
    /// Reads records of the log.
    ReadLog "log_read" "",
    /// Makes a snapshot of the past.
    Snapshot "snapshot" "",
    /// Writes a checkpoint.
    Checkpoint "checkpoint" "",
    /// Rewrites the log without what nobody needs.
    Compaction "compaction" "",
    /// Builds or merges a graph.
    IndexBuild "index_build" "",
    /// Deletes what has expired.
    Expire "expire" "",
    /// Reads everything and compares checksums.
    Verify "verify" "",
    /// Makes a backup.
    Backup "backup" "",
}

impl Operation {
    /// A search by vector that went so.
    pub(crate) const fn search(plan: SearchPlan) -> Self {
        match plan {
            SearchPlan::Nothing => Self::SearchNothing,
            SearchPlan::Scan => Self::SearchExact,
            SearchPlan::Matches => Self::SearchFiltered,
            SearchPlan::Graph => Self::SearchGraph,
            SearchPlan::FilteredGraph => Self::SearchFilteredGraph,
        }
    }

    /// Whether it takes long by nature, so that being slow is nothing to warn of.
    pub(crate) const fn is_long(self) -> bool {
        matches!(
            self,
            Self::Checkpoint
                | Self::Compaction
                | Self::IndexBuild
                | Self::Expire
                | Self::Verify
                | Self::Backup
        )
    }

    /// Its number in tables of all of them.
    pub(crate) const fn number(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_number_and_labels_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for (number, one) in Operation::ALL.iter().enumerate() {
            assert_eq!(one.number(), number);
            assert!(seen.insert((one.name(), one.plan())), "{one:?}");
        }
    }
}
