using TokTok.Storage.Tdfs.Composition;

namespace TokTok.Storage.Tdfs.Tests.Composition;

public sealed class SharedGateTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Who_wants_to_be_alone_waits_for_those_inside_and_goes_before_those_who_come_later()
    {
        using var gate = new SharedGate();
        IDisposable one = await gate.ShareAsync(Cancel);
        IDisposable two = await gate.ShareAsync(Cancel);
        Task<IDisposable> alone = gate.EnterAloneAsync(Cancel).AsTask();
        Task<IDisposable> late = gate.ShareAsync(Cancel).AsTask();
        one.Dispose();
        one.Dispose(); // once
        Assert.False(alone.IsCompleted);
        two.Dispose();
        IDisposable inside = await alone;
        Assert.False(late.IsCompleted);
        inside.Dispose();
        (await late).Dispose();
        (await gate.EnterAloneAsync(Cancel)).Dispose();
    }

    [Fact]
    public async Task Who_gives_up_waiting_leaves_the_gate_as_it_was()
    {
        using var gate = new SharedGate();
        IDisposable one = await gate.ShareAsync(Cancel);
        using CancellationTokenSource impatient = new();
        Task<IDisposable> alone = gate.EnterAloneAsync(impatient.Token).AsTask();
        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => alone);
        IDisposable two = await gate.ShareAsync(Cancel);
        one.Dispose();
        two.Dispose();
        (await gate.EnterAloneAsync(Cancel)).Dispose();
    }
}
