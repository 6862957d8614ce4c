using System.Globalization;

namespace TokTok.Storage.Files;

/// <summary>A snapshot as keep rules see it.</summary>
public readonly record struct KeepCandidate(SnapshotId Id, long TimeNs, bool IsMarked, bool IsFinished);

/// <summary>Whether a snapshot stays, and why, in words for people.</summary>
public readonly record struct KeepDecision(KeepCandidate Snapshot, bool IsKept, string Reason);

/// <summary>Which snapshots of a volume to keep: the newest N, and the newest of each of so many hours, days, weeks, months and years.</summary>
/// <remarks>
/// Rules count the buckets that hold snapshots and never look at the present time: a volume that rests for a year, or a clock that jumps,
/// forgets nothing. Marked snapshots stay, and so does an unfinished one that is the newest of all, for the next import continues from it.
/// Other unfinished ones stand for no bucket and go, unless all rules are zero: then nothing goes. Buckets are those of UTC, weeks begin on Monday.
/// </remarks>
public sealed record KeepRules
{
    public int Last { get; init; }

    public int Hourly { get; init; }

    public int Daily { get; init; }

    public int Weekly { get; init; }

    public int Monthly { get; init; }

    public int Yearly { get; init; }

    /// <summary>No rule at all keeps everything.</summary>
    public bool IsEmpty => Last <= 0 && Hourly <= 0 && Daily <= 0 && Weekly <= 0 && Monthly <= 0 && Yearly <= 0;

    /// <summary>A decision for each snapshot, newest first.</summary>
    public IReadOnlyList<KeepDecision> Apply(IEnumerable<KeepCandidate> snapshots)
    {
        ArgumentNullException.ThrowIfNull(snapshots);
        KeepCandidate[] newestFirst = [.. snapshots.OrderByDescending(one => one.TimeNs).ThenByDescending(one => one.Id.Value)];
        (string Name, int Count, Func<DateTime, long> Bucket)[] rules =
        [
            ("hourly", Hourly, time => time.Ticks / TimeSpan.TicksPerHour),
            ("daily", Daily, time => time.Ticks / TimeSpan.TicksPerDay),

            // Day 0 of the calendar, 0001-01-01, is a Monday.
            ("weekly", Weekly, time => time.Ticks / (7 * TimeSpan.TicksPerDay)),
            ("monthly", Monthly, time => (time.Year * 12L) + time.Month),
            ("yearly", Yearly, time => time.Year),
        ];
        long?[] lastBuckets = new long?[rules.Length];
        int[] used = new int[rules.Length];
        int finished = 0;
        List<KeepDecision> decisions = new(newestFirst.Length);
        for (int at = 0; at < newestFirst.Length; at++)
        {
            KeepCandidate snapshot = newestFirst[at];
            List<string> reasons = [];
            if (IsEmpty)
            {
                reasons.Add("no rules");
            }

            if (snapshot.IsMarked)
            {
                reasons.Add("marked");
            }

            if (!snapshot.IsFinished)
            {
                if (at == 0)
                {
                    reasons.Add("unfinished, the next import continues it");
                }
            }
            else
            {
                if (finished++ < Last)
                {
                    reasons.Add(string.Create(CultureInfo.InvariantCulture, $"last {finished} of {Last}"));
                }

                DateTime time = TimeOf(snapshot.TimeNs);
                for (int rule = 0; rule < rules.Length; rule++)
                {
                    // Newest first, so the snapshots of a bucket follow one another and the first one stands for it.
                    long bucket = rules[rule].Bucket(time);
                    if (used[rule] < rules[rule].Count && lastBuckets[rule] != bucket)
                    {
                        used[rule]++;
                        lastBuckets[rule] = bucket;
                        reasons.Add(string.Create(CultureInfo.InvariantCulture, $"{rules[rule].Name} {used[rule]} of {rules[rule].Count}"));
                    }
                }
            }

            bool isKept = reasons.Count > 0;
            string why = isKept ? string.Join(", ", reasons) : snapshot.IsFinished ? "no rule keeps it" : "unfinished, and a newer one follows";
            decisions.Add(new KeepDecision(snapshot, isKept, why));
        }

        return decisions;
    }

    internal static DateTime TimeOf(long timeNs) => DateTime.UnixEpoch.AddTicks(timeNs / 100);
}
