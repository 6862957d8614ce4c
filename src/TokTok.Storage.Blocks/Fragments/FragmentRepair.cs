using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Fragments;

public enum FragmentHealth
{
    Good,

    /// <summary>Its holder has nothing under this name.</summary>
    Missing,

    /// <summary>Some of its groups do not match; where even the list of group hashes is lost, all of them count as damaged.</summary>
    Damaged,

    /// <summary>Its holder cannot be asked: nothing is known, and nothing is written.</summary>
    Unreachable,
}

/// <summary>What was found of one fragment. IsRecordDamaged speaks of the record of its file, not of its bytes.</summary>
public sealed record FragmentReport(int Index, FragmentHealth Health, IReadOnlyList<int> DamagedGroups, bool IsRecordDamaged, string? Detail);

/// <summary>What a repair found, wrote and left. IsWhole: every fragment is good now, and every record.</summary>
public sealed record RepairReport(IReadOnlyList<FragmentReport> Before, IReadOnlyList<FragmentReport> After, int RewrittenGroups)
{
    public bool IsWhole => After.All(static report => report is { Health: FragmentHealth.Good, IsRecordDamaged: false });
}

/// <summary>Verifies an arena's fragments by their names, reads around damage, and mends it from what is good, without any key.</summary>
/// <remarks>Format: docs/format.md 2.6 and 7. Each call looks at the fragments anew: <see cref="ArenaRepair"/> has the rules.</remarks>
public static class FragmentRepair
{
    /// <summary>Reads every byte and says what is good.</summary>
    public static ValueTask<IReadOnlyList<FragmentReport>> VerifyAsync(FragmentSet set, CancellationToken cancel) => new ArenaRepair(set).VerifyAsync(cancel);

    /// <summary>The fragments whose holders show their records and, of each, one group at random that its name vouches for.</summary>
    internal static ValueTask<IReadOnlySet<int>> ProbeAsync(FragmentSet set, IRandomSource random, CancellationToken cancel) => new ArenaRepair(set).ProbeAsync(random, cancel);

    /// <summary>Whether every byte of the arena can be had, checked: at least k good copies of each group. Reads everything once.</summary>
    public static ValueTask<bool> IsReadableAsync(FragmentSet set, CancellationToken cancel) => new ArenaRepair(set).IsReadableAsync(cancel);

    /// <summary>Rebuilds what is damaged or missing as far as enough is good, writes it back to its holder, and verifies again.</summary>
    /// <exception cref="DamagedBlockException">What was rebuilt does not match its name: the names do not belong together.</exception>
    public static ValueTask<RepairReport> RepairAsync(FragmentSet set, CancellationToken cancel) => new ArenaRepair(set).RepairAsync(cancel);

    /// <summary>Reads verified bytes of a fragment, rebuilt from the others where it is damaged or missing. Writes nothing back.</summary>
    /// <remarks>Part of a fragment that is away is rebuilt from k others that match their names, and only the whole of one can be held to its own name.</remarks>
    /// <exception cref="DamagedBlockException">Fewer than k copies of a group are good.</exception>
    public static ValueTask ReadWindowAsync(FragmentSet set, int fragmentIndex, int offset, Memory<byte> target, CancellationToken cancel) =>
        new ArenaRepair(set).ReadWindowAsync(fragmentIndex, offset, target, cancel);
}
