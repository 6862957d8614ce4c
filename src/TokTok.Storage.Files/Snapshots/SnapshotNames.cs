using System.Globalization;

namespace TokTok.Storage.Files;

/// <summary>No snapshot, or more than one, answers to what a person wrote. The message is one line for them.</summary>
public sealed class SnapshotNameException : Exception
{
    public SnapshotNameException(string message)
        : base(message)
    {
    }

    public SnapshotNameException(string message, Exception inner)
        : base(message, inner)
    {
    }

    public SnapshotNameException()
    {
    }
}

/// <summary>Finds the snapshot that a person means.</summary>
/// <remarks>
/// In this order, the first that matches anything decides: <c>latest</c> (the newest finished one, or the newest if none is finished); a label
/// (the newest that carries it); the beginning of a time as it is listed, <c>2026-11-20</c> or <c>2026-11-20 13:05</c>; the beginning of an id, at
/// least 4 hexadecimal digits. A time is meant in the zone that lists show, or in UTC where it ends with a Z; of several that begin so the newest is taken, as with
/// latest. An id that several snapshots share is refused, and some of them are named.
/// </remarks>
public static class SnapshotNames
{
    public const int MinIdDigits = 4;

    /// <summary>A snapshot's time in full, of which a name may be a beginning: 2026-11-20T13:05:59.123456789.</summary>
    public static string TimeText(long timeNs, TimeZoneInfo zone)
    {
        const long NanosecondsPerSecond = 1_000_000_000;
        (long seconds, long ns) = Math.DivRem(timeNs, NanosecondsPerSecond);
        DateTimeOffset time = DateTimeOffset.FromUnixTimeSeconds(ns < 0 ? seconds - 1 : seconds);
        string whole = TimeZoneInfo.ConvertTime(time, zone).ToString("yyyy-MM-dd'T'HH:mm:ss", CultureInfo.InvariantCulture);
        return string.Create(CultureInfo.InvariantCulture, $"{whole}.{(ns < 0 ? ns + NanosecondsPerSecond : ns):000000000}");
    }

    /// <summary>Whether a name is the beginning of a time. It takes at least "2026-11" to be one, so that an id of digits alone is not taken for a year.</summary>
    public static bool IsTime(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return name.Length >= 7 && name[4] == '-' && name.AsSpan(0, 4).IndexOfAnyExceptInRange('0', '9') < 0;
    }

    /// <summary>Those whose time begins as <paramref name="name"/> does, newest first.</summary>
    public static IReadOnlyList<SnapshotRecord> AtTime(IReadOnlyList<SnapshotRecord> snapshots, string name, TimeZoneInfo zone)
    {
        ArgumentNullException.ThrowIfNull(name);
        bool isUtc = name.EndsWith('Z');
        string time = (isUtc ? name[..^1] : name).Replace(' ', 'T');
        return [.. NewestFirst(snapshots).Where(one => TimeText(one.TimeNs, isUtc ? TimeZoneInfo.Utc : zone).StartsWith(time, StringComparison.Ordinal))];
    }

    /// <summary>The newest that is finished, or else the newest.</summary>
    public static SnapshotRecord Newest(IReadOnlyList<SnapshotRecord> snapshots)
    {
        SnapshotRecord[] newestFirst = NewestFirst(snapshots);
        return Array.Find(newestFirst, one => one.IsFinished) ?? newestFirst[0];
    }

    /// <param name="zone">The zone that lists show times in.</param>
    /// <exception cref="SnapshotNameException">None or several are meant.</exception>
    public static SnapshotRecord Find(IReadOnlyList<SnapshotRecord> snapshots, string name, TimeZoneInfo zone)
    {
        ArgumentNullException.ThrowIfNull(snapshots);
        ArgumentException.ThrowIfNullOrEmpty(name);
        SnapshotRecord[] newestFirst = NewestFirst(snapshots);
        if (newestFirst.Length == 0)
        {
            throw new SnapshotNameException("The volume has no snapshots yet.");
        }

        if (name == "latest")
        {
            return Newest(newestFirst);
        }

        SnapshotRecord? labelled = Array.Find(newestFirst, one => one.Labels.Contains(name));
        if (labelled is not null)
        {
            return labelled;
        }

        if (IsTime(name))
        {
            IReadOnlyList<SnapshotRecord> then = AtTime(newestFirst, name, zone);
            return then.Count > 0 ? Newest(then) : throw new SnapshotNameException($"No snapshot at that time ({(name.EndsWith('Z') ? "UTC" : "local")}): {name}.");
        }

        if (name.Length >= MinIdDigits && name.All(char.IsAsciiHexDigit))
        {
            SnapshotRecord[] named = Array.FindAll(newestFirst, one => one.Id.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase));
            return Single(named, name, zone);
        }

        throw new SnapshotNameException(
            $"No snapshot is called {name}: give an id (at least {MinIdDigits} digits), a label, a time such as 2026-11-20T13:05, or latest.");
    }

    private static SnapshotRecord[] NewestFirst(IReadOnlyList<SnapshotRecord> snapshots) => [.. snapshots.OrderByDescending(one => one.TimeNs).ThenByDescending(one => one.Id.Value)];

    private static SnapshotRecord Single(SnapshotRecord[] found, string name, TimeZoneInfo zone)
    {
        if (found.Length == 1)
        {
            return found[0];
        }

        if (found.Length == 0)
        {
            throw new SnapshotNameException($"No snapshot with that id: {name}.");
        }

        string some = string.Join(", ", found.Take(3).Select(one => $"{one.Id} ({TimeText(one.TimeNs, zone)})"));
        throw new SnapshotNameException($"{found.Length} snapshots with that id: {name} may be {some}{(found.Length > 3 ? ", and others" : "")}.");
    }
}
