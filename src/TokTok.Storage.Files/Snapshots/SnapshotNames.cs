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
/// (the newest that carries it); the beginning of a time as it is listed, <c>2026-11-20</c> or <c>2026-11-20T13:05</c>; the beginning of an id, at
/// least 4 hexadecimal digits. A time or an id that several snapshots share is refused, and some of them are named.
/// </remarks>
public static class SnapshotNames
{
    public const int MinIdDigits = 4;

    /// <summary>A snapshot's time as lists show it and names may abbreviate it, for example 2026-11-20T13:05:59Z.</summary>
    public static string TimeText(long timeNs) => KeepRules.TimeOf(timeNs).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    /// <exception cref="SnapshotNameException">None or several are meant.</exception>
    public static SnapshotRecord Find(IReadOnlyList<SnapshotRecord> snapshots, string name)
    {
        ArgumentNullException.ThrowIfNull(snapshots);
        ArgumentException.ThrowIfNullOrEmpty(name);
        SnapshotRecord[] newestFirst = [.. snapshots.OrderByDescending(one => one.TimeNs).ThenByDescending(one => one.Id.Value)];
        if (newestFirst.Length == 0)
        {
            throw new SnapshotNameException("The volume has no snapshots yet.");
        }

        if (name == "latest")
        {
            return Array.Find(newestFirst, one => one.IsFinished) ?? newestFirst[0];
        }

        SnapshotRecord? labelled = Array.Find(newestFirst, one => one.Labels.Contains(name));
        if (labelled is not null)
        {
            return labelled;
        }

        // A date takes at least "2026-11" to be one, so that an id of digits alone is not taken for a year.
        if (name.Length >= 7 && name[4] == '-')
        {
            string time = name.Replace(' ', 'T');
            SnapshotRecord[] then = Array.FindAll(newestFirst, one => TimeText(one.TimeNs).StartsWith(time, StringComparison.Ordinal));
            return Single(then, name, "at that time");
        }

        if (name.Length >= MinIdDigits && name.All(char.IsAsciiHexDigit))
        {
            SnapshotRecord[] named = Array.FindAll(newestFirst, one => one.Id.ToString().StartsWith(name, StringComparison.OrdinalIgnoreCase));
            return Single(named, name, "with that id");
        }

        throw new SnapshotNameException(
            $"No snapshot is called {name}: give an id (at least {MinIdDigits} digits), a label, a time such as 2026-11-20T13:05, or latest.");
    }

    private static SnapshotRecord Single(SnapshotRecord[] found, string name, string what)
    {
        if (found.Length == 1)
        {
            return found[0];
        }

        if (found.Length == 0)
        {
            throw new SnapshotNameException($"No snapshot {what}: {name}.");
        }

        string some = string.Join(", ", found.Take(3).Select(one => $"{one.Id} ({TimeText(one.TimeNs)})"));
        throw new SnapshotNameException($"{found.Length} snapshots {what}: {name} may be {some}{(found.Length > 3 ? ", and others" : "")}.");
    }
}
