using TokTok.Storage.Core;
using TokTok.Storage.Node.Holders;

namespace TokTok.Storage.Node.Audit;

/// <summary>A fragment that the catalog says a holder keeps.</summary>
public readonly record struct AuditedFragment(ArenaId Id, int Index, ExpectedFragment Expected);

/// <summary>Somebody who is audited.</summary>
/// <param name="Fragments">All that it is to keep.</param>
/// <param name="Ask">Asks for a window of one; null: nobody can be reached there.</param>
public sealed record AuditTarget(HolderId Holder, string Name, IReadOnlyList<AuditedFragment> Fragments, Func<AuditedFragment, CancellationToken, ValueTask<AuditOutcome>>? Ask)
{
    /// <summary>Asks for any answer; null: nobody can be reached there.</summary>
    public Func<CancellationToken, ValueTask<bool>>? Greet { get; init; }
}

/// <summary>What a round found of one.</summary>
public sealed record AuditResult(string Name, HolderId Holder, int Passed, int Failed, int Unanswered, HolderScore Score);

/// <summary>Asks holders for windows at random places, and writes down what comes.</summary>
/// <remarks>
/// Rules: docs/protocol.md 3.6. A round asks each target for those of its fragments that failed before, then for random ones; one that fails is followed by <see cref="FollowUps"/> more of the same target.
/// A target that gives no answer is asked no more in that round. One that was silent and keeps nothing by now, since all of it was placed elsewhere, is asked for any answer: by that its silence ends. Targets are asked side by side, one question at a time each. Scores are durable when a round returns.
/// </remarks>
public sealed class Auditor(ScoreFile scores, IRandomSource random, TimeProvider clock, Action<string> say)
{
    public const int FollowUps = 16;

    public static readonly TimeSpan Every = TimeSpan.FromMinutes(10);

    /// <param name="count">Audits of each target, those that follow a failure besides.</param>
    public async ValueTask<IReadOnlyList<AuditResult>> RoundAsync(IReadOnlyList<AuditTarget> targets, int count, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(targets);
        ScoreList known = scores.Read();
        var heard = await Task.WhenAll(targets.Select(target => AskAsync(target, known.Of(target.Holder), count, cancel))).ConfigureAwait(false);
        bool[] greeted = await Task.WhenAll(targets.Select(target => GreetAsync(target, known.Of(target.Holder), cancel))).ConfigureAwait(false);
        long now = clock.GetUtcNow().ToUnixTimeSeconds();
        ScoreList after = await scores.ChangeAsync(
            list =>
            {
                list = list.Heard(
                    targets.Select(static (target, i) => (target.Holder, i)).DistinctBy(static each => each.Holder)
                        .Where(each => targets[each.i].Fragments.Count > 0 || targets[each.i].Ask is null || greeted[each.i])
                        .ToDictionary(static each => each.Holder, each => greeted[each.i] || heard[each.i].Exists(static one => one.Outcome != AuditOutcome.NoAnswer)),
                    now);
                for (int i = 0; i < targets.Count; i++)
                {
                    foreach ((AuditedFragment fragment, AuditOutcome outcome) in heard[i])
                    {
                        list = list.Audited(targets[i].Holder, fragment, outcome, now);
                    }

                    list = list.Without(targets[i].Holder, failed => !targets[i].Fragments.Any(each => each.Id == failed.Id && each.Index == failed.Index));
                }

                return list;
            },
            cancel).ConfigureAwait(false);
        var results = new List<AuditResult>();
        for (int i = 0; i < targets.Count; i++)
        {
            HolderScore score = after.Of(targets[i].Holder) ?? new HolderScore { Holder = targets[i].Holder };
            int Of(AuditOutcome outcome) => heard[i].Count(each => each.Outcome == outcome);
            results.Add(new AuditResult(targets[i].Name, targets[i].Holder, Of(AuditOutcome.Proven), Of(AuditOutcome.Failed), Of(AuditOutcome.NoAnswer), score));
            Tell(targets[i], heard[i], known.Of(targets[i].Holder), score);
        }

        return results;
    }

    private static async Task<bool> GreetAsync(AuditTarget target, HolderScore? score, CancellationToken cancel) =>
        target is { Fragments.Count: 0, Greet: { } greet } && score is { SilentSinceSeconds: > 0 } && await greet(cancel).ConfigureAwait(false);

    private async Task<List<(AuditedFragment Fragment, AuditOutcome Outcome)>> AskAsync(AuditTarget target, HolderScore? score, int count, CancellationToken cancel)
    {
        var found = new List<(AuditedFragment Fragment, AuditOutcome Outcome)>();
        if (target.Ask is null || target.Fragments.Count == 0)
        {
            return found;
        }

        HashSet<(ArenaId Id, int Index)> open = [.. (score?.Open ?? []).Select(static each => (each.Id, each.Index))];
        var next = new Queue<AuditedFragment>(open.Count == 0 ? [] : target.Fragments.Where(each => open.Contains((each.Id, each.Index))));
        for (int left = count; next.Count > 0 || left > 0;)
        {
            cancel.ThrowIfCancellationRequested();
            if (!next.TryDequeue(out AuditedFragment fragment))
            {
                fragment = target.Fragments[Below(target.Fragments.Count)];
                left--;
            }

            AuditOutcome outcome = await target.Ask(fragment, cancel).ConfigureAwait(false);
            if (outcome == AuditOutcome.Failed && !found.Exists(static each => each.Outcome == AuditOutcome.Failed) && open.Count == 0)
            {
                left += FollowUps; // a bad sector, or all of it? the first one that fails shows soon
            }

            found.Add((fragment, outcome));
            if (outcome == AuditOutcome.NoAnswer)
            {
                break;
            }
        }

        return found;
    }

    private void Tell(AuditTarget target, List<(AuditedFragment Fragment, AuditOutcome Outcome)> found, HolderScore? before, HolderScore after)
    {
        int failed = found.Count(static each => each.Outcome == AuditOutcome.Failed);
        HolderStanding was = before?.Standing ?? HolderStanding.Good;
        if (after.Standing == HolderStanding.Lost && was != HolderStanding.Lost)
        {
            say(after.SilentSeconds > 0 && failed == 0
                ? $"peer {target.Name} has not answered for 7 days and counts as lost: a running node, or 'tdfs repair', places what it keeps elsewhere"
                : $"peer {target.Name} failed {failed} of {found.Count} audits: it does not have what it is to keep, and counts as lost; a running node, or 'tdfs repair', places that elsewhere, and 'tdfs peer revoke' ends it");
        }
        else if (failed > 0 && (before?.Open.Count ?? 0) == 0)
        {
            AuditedFragment first = found.Find(static each => each.Outcome == AuditOutcome.Failed).Fragment;
            say($"peer {target.Name} failed an audit: fragment {first.Index} of arena {first.Id} is not what was put there; 'tdfs repair' mends it, and a second one makes the peer lost");
        }
        else if (after.Standing == HolderStanding.Late && was == HolderStanding.Good)
        {
            say($"peer {target.Name} has not answered for a day; after a week it counts as lost");
        }
    }

    private int Below(int count)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        random.Fill(bytes);
        return (int)(System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(bytes) % (ulong)count);
    }
}
