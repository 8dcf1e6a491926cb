/*
 * match.h
 *		Room match: the same person without a shared identifier.
 *
 * Two layers.  Primitives work on anybody's tables and need no set-up:
 *
 *		compare_values, jaro_winkler	two values of a field
 *		preview_blocks					how many pairs blocks make
 *		match_pairs						the pairs, and how they agree
 *		match_patterns					counts of patterns, as jsonb
 *		match_fit						the model that fits them, as jsonb
 *		match_levels, match_report, match_thresholds	what the model says
 *		match_weight					the weight of a pattern and its parts
 *		find_matches					all of it: who is probably the same
 *		cluster_pairs					persons, of pairs and refusals
 *
 * The program stands on tables made by setup():
 *
 *		define_match, fit_match			what is compared, and a model of it
 *		find_duplicates					stores pairs of members
 *		match_candidates, review_queue, match_clusters	what they come to
 *		review_pair, merge_match		what people decide
 *
 *
 * Computing
 * ---------
 *
 * compare.h says what the levels of a comparison are, em.h what the model is.
 * A source is read once: each field's distinct values get numbers, so a record
 * is a few numbers (match_records.c).  Records are ordered by their ids, so
 * that nothing depends on the order of rows.  A block is a list of fields: it
 * makes every pair that agrees in all of them (match_block.c).  A pair is made
 * by the first block that makes it, compared there, and counted; pairs are not
 * kept.  What is weighed is made a second time, with the model (match_run.c).
 * Memory is that of the records and of the result.
 *
 * Frequencies: an equal value that few have says more than one that many have.
 * Its u is the share of records that have it.  The pair itself does not say how
 * common the value is: of n records with the field, c of them with the value,
 * the share is (c - 1) / (n - 2 + 1/u), the mean over what is known of the
 * other n - 2 records if shares of values are exponential of mean u.
 *
 *
 * Tables (layout 1)
 * -----------------
 *
 * match_definition: match, version (primary key), definition, recorded_at.
 *		What is compared; the last version counts.
 *
 * match_model: match, model_no (primary key), version, model, patterns,
 *		fitted_at.  What fit_match() found; the last of a version counts.
 *
 * match_pair: member_id, other_id > member_id, match (primary key); weight,
 *		probability, pattern, parts, model_no, found_at.  Pairs of members that
 *		find_duplicates() weighed and found worth a look.
 *
 * match_review: member_id, decision_no (primary key), other_id, decision,
 *		reason, decided_at.  Append-only; who_did() knows whose decision it was.  The members are those whom
 *		the reviewer named; what holds between them holds between the persons
 *		that they are part of, at any time: a decision follows merges, and
 *		comes apart with them.  Of several about the same two persons the last
 *		holds.
 *
 * match_link: member_id, merge_id (primary key), other_id, match, weight,
 *		probability, parts, model_no, decision_no, linked_at.  Merges that came
 *		of a match, and on what they stand.  Append-only.
 *
 * Nothing in them moves in a merge: readers ask who stands for whom.  Who is
 * forgotten is in no pair; of decisions and links the texts are erased.
 *
 *
 * Invariants (check_match())
 * --------------------------
 *
 * Members of pairs and decisions exist; a stored weight is that of the model of
 * its pair, on the stored pattern, plus what frequencies added, and a stored
 * probability that of the weight; patterns of a model add up to the pairs of its
 * blocks; no two persons, as they were by then, that were found not the same
 * are merged by merge_match() without a later decision.
 */
#ifndef LOYALTY_MATCH_H
#define LOYALTY_MATCH_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "match/compare.h"
#include "match/em.h"

#define MATCH_MAX_BLOCKS		64
#define MATCH_MAX_KEYS			8	/* fields that are not compared */
#define MATCH_ALL_FIELDS		(MATCH_MAX_FIELDS + MATCH_MAX_KEYS)
#define MATCH_BLOCK_FIELDS		6

/* match_value.c */
extern int	NormalizeMatchText(MatchKind kind, const char *utf8, int len, const char *country, uint32 *chars);
extern char *MatchTextInUtf8(const char *text, int len);
extern char *MatchTextOf(const uint32 *chars, int n);
extern MatchKind MatchKindOf(const char *name);

typedef struct MatchField
{
	const char *name;			/* of a column, or of a key of a jsonb column */
	MatchKind	kind;
	bool		frequencies;	/* whether they count */
	int			place;			/* in patterns; -1: a key, not compared */
} MatchField;

typedef struct MatchBlock
{
	int			nfields;
	int			fields[MATCH_BLOCK_FIELDS];
	uint32		mask;			/* the same, as bits */
	bool		by_levels;		/* all of them are compared */
} MatchBlock;

/* What is compared, and how; see match_definition.c. */
typedef struct MatchDefinition
{
	const char *id;				/* the column that tells records apart, or NULL */
	const char *in;				/* the jsonb column whose keys the fields are, or NULL */
	const char *country;		/* of telephone numbers, or NULL */
	int			nfields;
	MatchField	fields[MATCH_ALL_FIELDS];
	int			ncompared;
	int			compared[MATCH_MAX_FIELDS]; /* by place */
	bool		chosen;			/* blocks are to be chosen */
	int			nblocks;
	MatchBlock	blocks[MATCH_MAX_BLOCKS];
	int64		pairs_per_record;
	int64		largest_key;
	bool		skip_oversized;
	int			ngarbage;
	char	  **garbage;
	double		link;
	double		review;
} MatchDefinition;

/* match_definition.c */
extern void ReadMatchDefinition(Jsonb *json, MatchDefinition *definition);
extern int	FindMatchField(const MatchDefinition *definition, const char *name);
extern bool AddMatchBlock(MatchDefinition *definition, const int *fields, int nfields);
extern char *MatchBlockName(const MatchDefinition *definition, const MatchBlock *block);

/* The distinct values of a field; a value's number is its place, from 1 on. */
typedef struct MatchValues
{
	uint32		nvalues;		/* with 0, which stands for missing */
	uint32		room;
	MatchValue *values;
	uint32	   *counts;			/* how many records have each */
	char	   *texts;
	size_t		ntexts;
	size_t		textroom;
	uint32	   *slots;			/* a hash table of numbers */
	uint32		nslots;
} MatchValues;

typedef struct MatchRecords
{
	const MatchDefinition *definition;
	MemoryContext context;
	uint32		n;
	uint32		room;
	uint32	   *numbers;		/* of values: a row of nfields for each record */
	bool		by_number;		/* ids are whole numbers */
	int64	   *ids;			/* or where each stands in idtexts */
	StringInfoData idtexts;
	MatchValues fields[MATCH_ALL_FIELDS];
	bool	   *wanted;			/* who is looked for, or NULL: everybody */
} MatchRecords;

#define RecordNumbers(records, i)	((records)->numbers + (size_t) (i) * (records)->definition->nfields)

/* match_records.c */
extern MatchRecords *LoadMatchRecords(Oid source, const MatchDefinition *definition);
extern char *MatchRecordId(const MatchRecords *records, uint32 i);
extern void MarkWantedRecords(MatchRecords *records, char **ids, int nids);
extern double PairsOf(double n);

/* match_block.c */
typedef struct MatchBlockSize
{
	int64		pairs;			/* with those of earlier blocks */
	int64		keys;			/* that two records or more have */
	int64		largest;		/* records of the key that most have */
	uint32		witness;		/* one of these */
} MatchBlockSize;

typedef void (*MatchPairFunction) (void *arg, uint32 a, uint32 b, int block);

extern void ChooseMatchBlocks(MatchRecords *records, MatchDefinition *definition);
extern void MatchBlockSizes(const MatchRecords *records, MatchBlockSize *sizes);
extern char *MatchKeyText(const MatchRecords *records, const MatchBlock *block, uint32 record);
extern void ForEachMatchPair(const MatchRecords *records, MatchPairFunction function, void *arg);
extern bool LevelBlockTakes(const MatchRecords *records, uint32 a, uint32 b);

/* match_count.c */
typedef struct MatchCells
{
	int			ncells;
	int			room;
	MatchCell  *cells;
	uint32	   *slots;
	uint32		nslots;
} MatchCells;

typedef struct MatchFieldSummary
{
	MatchFieldCounts counts;
	int64		values;			/* distinct ones */
	int64		compared;		/* of which pairs were compared for agreement */
} MatchFieldSummary;

extern MatchPattern ComparePair(const MatchRecords *records, uint32 a, uint32 b);
extern void CountMatchPatterns(const MatchRecords *records, MatchCells *cells);
extern void SummarizeMatchField(const MatchRecords *records, int field, MatchFieldSummary *summary);
extern int	CompareMatchCells(const void *a, const void *b);
extern char *MatchPatternText(MatchPattern pattern, int nfields, char *text);

/* match_json.c: counts of patterns, and models, as jsonb */
typedef struct MatchCounts
{
	int64		records;
	double		pairs;
	int			nfields;
	const char *names[MATCH_MAX_FIELDS];
	int			kinds[MATCH_MAX_FIELDS];	/* MatchKind; -1: unknown */
	int			nlevels[MATCH_MAX_FIELDS];
	bool		frequencies[MATCH_MAX_FIELDS];
	bool		counted;		/* agreement is given */
	MatchFieldSummary summary[MATCH_MAX_FIELDS];
	int			nblocks;
	uint32		blocks[MATCH_MAX_BLOCKS];
	bool		has_keys;		/* there are blocks of keys, too */
	int			ncells;
	MatchCell  *cells;			/* by pattern, ascending */
} MatchCounts;

#define MATCH_MAX_REMARKS	(8 + 4 * MATCH_MAX_FIELDS + MATCH_MAX_FIELDS * MATCH_MAX_FIELDS)

/* A model, and what is known of its fit. */
typedef struct FittedModel
{
	MatchCounts head;			/* names and the like; no cells */
	MatchFit	fit;
	bool		fitted;			/* not given by hand */
	int			nremarks;
	char	   *remarks[MATCH_MAX_REMARKS];
} FittedModel;

typedef struct FitOptions
{
	bool		has_u;
	double		m;
	double		u;
	double		lambda;			/* 0: to be chosen */
	double		clip[2];
	double		tolerance;
	int			max_iterations;
} FitOptions;

extern Jsonb *WriteMatchCounts(const MatchCounts *counts);
extern void ReadMatchCounts(Jsonb *json, MatchCounts *counts);
extern void ReadFitOptions(Jsonb *json, FitOptions *options);
extern Jsonb *WriteMatchModel(const FittedModel *model);
extern void ReadMatchModel(Jsonb *json, FittedModel *model);
extern bool ReadMatchPattern(const char *text, size_t len, int nfields, MatchPattern *pattern);

/* match_fit.c */
extern void DefaultFitOptions(FitOptions *options);
extern void FitCounts(MatchCounts *counts, const FitOptions *options, FittedModel *model);
extern bool IsUnsafe(const FittedModel *model);

/*
 * match_weigh.c: weights in millionths of a bit, so that parts add up to the
 * last digit, whatever the order.
 */
typedef int64 MicroBits;

#define MICRO_BITS_DECIMALS	6

typedef struct MatchWeigher
{
	int			nfields;
	MicroBits	prior;
	MicroBits	level[MATCH_MAX_FIELDS][MATCH_MAX_LEVELS];
	MicroBits	most;			/* that a field can give */
} MatchWeigher;

extern void MakeMatchWeigher(const MatchModel *model, MatchWeigher *weigher);
extern MicroBits WeighPattern(const MatchWeigher *weigher, MatchPattern pattern);
extern MicroBits FrequencyPart(const MatchWeigher *weigher, const MatchModel *model, int f, double share);
extern Datum WeightNumeric(MicroBits weight);
extern Datum ProbabilityNumeric(MicroBits weight);
extern Datum PartsJsonb(const FittedModel *model, const MatchWeigher *weigher, MatchPattern pattern, const MicroBits *frequencies);

#endif							/* LOYALTY_MATCH_H */
