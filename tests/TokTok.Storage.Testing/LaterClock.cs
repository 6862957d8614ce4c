namespace TokTok.Storage.Testing;

/// <summary>An hour ahead of the files' times, so that an import trusts them all from the first time on (git's racy rule).</summary>
public sealed class LaterClock : TimeProvider
{
    public override DateTimeOffset GetUtcNow() => base.GetUtcNow().AddHours(1);
}
