using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Node.Audit;

/// <summary>What is known of every holder that was asked.</summary>
/// <remarks>Format: docs/format.md 17.3.</remarks>
public sealed record ScoreList
{
    internal const int MaxScores = 1024;

    private const int CutOffCount = 2;
    private const int CutOffPart = 3;

    private static readonly TimeSpan s_together = TimeSpan.FromHours(1);
    private static readonly TimeSpan s_cutOff = TimeSpan.FromDays(1);

    public static ScoreList Empty { get; } = new() { Scores = [] };

    public required IReadOnlyList<HolderScore> Scores { get; init; }

    /// <summary>0: this device is not presumed cut off.</summary>
    public long CutOffSinceSeconds { get; init; }

    public HolderScore? Of(HolderId holder) => Scores.FirstOrDefault(each => each.Holder == holder);

    /// <summary>What came of asking every holder once, within a short time.</summary>
    public ScoreList Heard(IReadOnlyDictionary<HolderId, bool> answered, long nowSeconds)
    {
        ArgumentNullException.ThrowIfNull(answered);
        long cutOff = CutOffSinceSeconds;
        bool oneCameBack = Scores.Any(each => each.SilentSinceSeconds > 0 && answered.GetValueOrDefault(each.Holder));
        cutOff = oneCameBack || Math.Abs(nowSeconds - cutOff) >= s_cutOff.TotalSeconds ? 0 : cutOff;

        // Those that were heard of before and fell silent together, now or in the last hour.
        int fell = answered.Count(each => !each.Value && Of(each.Key) is { HeardAtSeconds: > 0 } score
            && (score.SilentSinceSeconds == 0 || (nowSeconds - score.SilentSinceSeconds is >= 0 and var since && since <= s_together.TotalSeconds && score.SilentSeconds <= s_together.TotalSeconds)));
        if (cutOff == 0 && !oneCameBack && fell >= CutOffCount && fell * CutOffPart >= answered.Count)
        {
            cutOff = Math.Max(1, nowSeconds);
        }

        ScoreList after = this with { CutOffSinceSeconds = cutOff };
        foreach ((HolderId holder, bool has) in answered)
        {
            after = after.With((after.Of(holder) ?? new HolderScore { Holder = holder }).Heard(has, nowSeconds, cutOff > 0));
        }

        return after;
    }

    public ScoreList Audited(HolderId holder, AuditedFragment fragment, Holders.AuditOutcome outcome, long nowSeconds) =>
        With((Of(holder) ?? new HolderScore { Holder = holder }).Audited(fragment, outcome, nowSeconds));

    /// <summary>Forgets failures of fragments that the holder is not to have any more.</summary>
    public ScoreList Without(HolderId holder, Func<FailedFragment, bool> isGone) =>
        Of(holder) is { } score && score.Open.Any(isGone) ? With(score with { Open = [.. score.Open.Where(each => !isGone(each))] }) : this;

    /// <summary>What a holder failed counts no more.</summary>
    public ScoreList Forgiving(HolderId holder) => Of(holder) is { Failed: > 0 } score ? With(score.Forgiven()) : this;

    internal FieldWriter Write()
    {
        var writer = new FieldWriter(4096);
        writer.I64(CutOffSinceSeconds);
        writer.U32((uint)Scores.Count);
        foreach (HolderScore score in Scores)
        {
            score.Write(writer);
        }

        return writer;
    }

    /// <exception cref="DamagedFormatException">Not exactly one list.</exception>
    internal static ScoreList Read(ReadOnlySpan<byte> source)
    {
        var reader = new FieldReader(source, "scores");
        long cutOff = reader.I64();
        int count = reader.Count(MaxScores, "the count");
        var scores = new List<HolderScore>();
        for (int i = 0; i < count; i++)
        {
            HolderScore score = HolderScore.Read(ref reader);
            if (scores.Exists(other => other.Holder == score.Holder))
            {
                throw reader.Damaged($"holder {score.Holder} stands in it twice");
            }

            scores.Add(score);
        }

        reader.End();
        return new ScoreList { Scores = scores, CutOffSinceSeconds = cutOff };
    }

    private ScoreList With(HolderScore score)
    {
        List<HolderScore> all = [.. Scores.Where(each => each.Holder != score.Holder), score];
        if (all.Count > MaxScores)
        {
            all.Remove(all.MinBy(static each => each.AskedAtSeconds)!);
        }

        return this with { Scores = all };
    }
}

/// <summary>The scores on disk.</summary>
/// <remarks>Format: docs/format.md 17.3. What cannot be read begins anew. The cache key stays the caller's.</remarks>
public sealed class ScoreFile(IDisk disk, string stateFolder, SecretBytes cacheKey, IRandomSource random, TimeProvider clock)
{
    public const string Name = "scores";

    private readonly EncryptedFile _file = new(disk, stateFolder, Name, "TDFSSCR1", "tdfs 2026-11 scores v1", cacheKey, random, clock);

    public ScoreList Read() => Parse(_file.Read());

    public async ValueTask<ScoreList> ChangeAsync(Func<ScoreList, ScoreList> change, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(change);
        ScoreList after = ScoreList.Empty;
        await _file.ChangeAsync(
            bytes =>
            {
                ScoreList before = Parse(bytes);
                after = change(before);
                return ReferenceEquals(before, after) ? null : after.Write();
            },
            cancel).ConfigureAwait(false);
        return after;
    }

    private static ScoreList Parse(byte[]? bytes)
    {
        try
        {
            return bytes is null ? ScoreList.Empty : ScoreList.Read(bytes);
        }
        catch (DamagedFormatException)
        {
            return ScoreList.Empty;
        }
    }
}
