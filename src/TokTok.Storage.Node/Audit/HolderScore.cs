using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Audit;

/// <summary>How a holder stands by what was seen of it.</summary>
public enum HolderStanding
{
    /// <summary>It answers, and nothing that it failed is open.</summary>
    Good,

    /// <summary>Silent for a day.</summary>
    Late,

    /// <summary>Silent for a week, or caught (<see cref="HolderScore.IsCaught"/>): what it keeps counts as not there.</summary>
    Lost,
}

/// <summary>A fragment that failed an audit.</summary>
public readonly record struct FailedFragment(ArenaId Id, int Index, long AtSeconds);

/// <summary>What is known of one holder by asking it: two scores, and what they are made of.</summary>
/// <remarks>
/// Format: docs/format.md 17.3. Rules: docs/protocol.md 3.6. Times are seconds since 1970 by the clock of this machine; what they count for is bounded by a day each, so no clock decides alone.
/// </remarks>
public sealed record HolderScore
{
    public const int Whole = 1_000_000;
    internal const int MaxFailed = 64;

    private const int TruthStep = 64;
    private const int LostByFailures = 2;
    private const int HolderSize = HolderId.Size + (3 * sizeof(ulong)) + (3 * sizeof(uint)) + (5 * sizeof(long)) + 1;

    private static readonly TimeSpan s_late = TimeSpan.FromHours(24);
    private static readonly TimeSpan s_lost = TimeSpan.FromDays(7);
    private static readonly TimeSpan s_most = TimeSpan.FromDays(1);
    private static readonly TimeSpan s_memory = TimeSpan.FromDays(30);

    public required HolderId Holder { get; init; }

    public ulong Passed { get; init; }

    public ulong Failed { get; init; }

    public ulong Unanswered { get; init; }

    /// <summary>In millionths.</summary>
    public int Truth { get; init; } = Whole / 2;

    /// <summary>In millionths; of no meaning before it was asked.</summary>
    public int Uptime { get; init; }

    public long SilentSeconds { get; init; }

    /// <summary>0: it answers.</summary>
    public long SilentSinceSeconds { get; init; }

    public long AskedAtSeconds { get; init; }

    public long HeardAtSeconds { get; init; }

    public long ProvenAtSeconds { get; init; }

    public long FailedAtSeconds { get; init; }

    /// <summary>Those that were not proven since.</summary>
    public IReadOnlyList<FailedFragment> Open { get; init; } = [];

    /// <summary>Two of its fragments failed and were not proven since. Or it was emptied for that, and what it had shown before does not speak for it: the last that was seen of it was a failure, and there were more of them than it made
    /// up for (docs/decisions/emptied-peers.md).</summary>
    public bool IsCaught => Open.Count >= LostByFailures || (Failed >= LostByFailures && FailedAtSeconds > ProvenAtSeconds && Truth < Whole / 2);

    public HolderStanding Standing => IsCaught || SilentSeconds >= s_lost.TotalSeconds ? HolderStanding.Lost
        : SilentSeconds >= s_late.TotalSeconds ? HolderStanding.Late
        : HolderStanding.Good;

    /// <summary>As if it had never failed, nor passed: its person said so.</summary>
    internal HolderScore Forgiven() => this with { Truth = Whole / 2, Failed = 0, FailedAtSeconds = 0, Open = [] };

    /// <summary>It answered, or it did not.</summary>
    /// <param name="isCutOff">This device is presumed cut off: silence says nothing then.</param>
    internal HolderScore Heard(bool hasAnswered, long nowSeconds, bool isCutOff)
    {
        double passed = AskedAtSeconds == 0 ? 0 : Math.Clamp(nowSeconds - AskedAtSeconds, 0, s_most.TotalSeconds);
        int uptime = AskedAtSeconds == 0 ? (hasAnswered ? Whole : 0)
            : isCutOff && !hasAnswered ? Uptime
            : Uptime + (int)(((hasAnswered ? Whole : 0) - Uptime) * (1 - Math.Exp(-passed / s_memory.TotalSeconds)));
        return hasAnswered
            ? this with { Uptime = uptime, AskedAtSeconds = nowSeconds, HeardAtSeconds = nowSeconds, SilentSeconds = 0, SilentSinceSeconds = 0 }
            : this with
            {
                Uptime = uptime,
                AskedAtSeconds = nowSeconds,
                SilentSinceSeconds = SilentSinceSeconds == 0 ? Math.Max(1, nowSeconds) : SilentSinceSeconds,
                // the first time without an answer only begins a silence, if it was heard of before
                SilentSeconds = isCutOff ? SilentSeconds : Math.Min(uint.MaxValue, SilentSeconds + (long)passed),
            };
    }

    internal HolderScore Audited(AuditedFragment fragment, Holders.AuditOutcome outcome, long nowSeconds)
    {
        FailedFragment[] others = [.. Open.Where(each => each.Id != fragment.Id || each.Index != fragment.Index)];
        return outcome switch
        {
            Holders.AuditOutcome.Proven => this with { Passed = Passed + 1, Truth = Truth + ((Whole - Truth) / TruthStep), ProvenAtSeconds = nowSeconds, Open = others },
            Holders.AuditOutcome.Failed => this with
            {
                Failed = Failed + 1,
                Truth = Truth - (Truth / TruthStep),
                FailedAtSeconds = nowSeconds,
                Open = [.. others.TakeLast(MaxFailed - 1), new FailedFragment(fragment.Id, fragment.Index, nowSeconds)],
            },
            _ => this with { Unanswered = Unanswered + 1 },
        };
    }

    internal void Write(FieldWriter writer)
    {
        int before = writer.Length;
        Holder.Write(writer.Take(HolderId.Size));
        writer.U64(Passed);
        writer.U64(Failed);
        writer.U64(Unanswered);
        writer.U32((uint)Truth);
        writer.U32((uint)Uptime);
        writer.U32((uint)SilentSeconds);
        writer.I64(SilentSinceSeconds);
        writer.I64(AskedAtSeconds);
        writer.I64(HeardAtSeconds);
        writer.I64(ProvenAtSeconds);
        writer.I64(FailedAtSeconds);
        writer.U8((byte)Open.Count);
        System.Diagnostics.Debug.Assert(writer.Length - before == HolderSize, "HolderScore.Write and HolderSize disagree");
        foreach (FailedFragment each in Open)
        {
            each.Id.Write(writer.Take(ArenaId.Size));
            writer.U16((ushort)each.Index);
            writer.I64(each.AtSeconds);
        }
    }

    /// <exception cref="DamagedFormatException">Not a score.</exception>
    internal static HolderScore Read(ref FieldReader reader)
    {
        var score = new HolderScore
        {
            Holder = HolderId.Read(reader.Bytes(HolderId.Size)),
            Passed = reader.U64(),
            Failed = reader.U64(),
            Unanswered = reader.U64(),
            Truth = reader.Count(Whole, "truth"),
            Uptime = reader.Count(Whole, "uptime"),
            SilentSeconds = reader.U32(),
            SilentSinceSeconds = reader.I64(),
            AskedAtSeconds = reader.I64(),
            HeardAtSeconds = reader.I64(),
            ProvenAtSeconds = reader.I64(),
            FailedAtSeconds = reader.I64(),
        };
        int count = reader.U8();
        if (count > MaxFailed)
        {
            throw reader.Damaged($"{count} failed fragments, at most {MaxFailed} expected");
        }

        var open = new FailedFragment[count];
        for (int i = 0; i < count; i++)
        {
            open[i] = new FailedFragment(ArenaId.Read(reader.Bytes(ArenaId.Size)), reader.U16(), reader.I64());
        }

        return score with { Open = open };
    }
}
