namespace TokTok.Storage.Mount.Fuse;

/// <summary>What kernel and server have agreed on: INIT comes to one of a mount's threads, and the others must know of it too.</summary>
/// <remarks>The kernel sends nothing else before the reply to INIT, so whoever reads this has the answer.</remarks>
internal sealed class FuseAgreement
{
    private volatile uint _flags;

    internal FuseInitFlags Flags
    {
        get => (FuseInitFlags)_flags;
        set => _flags = (uint)value;
    }

    internal bool Has(FuseInitFlags flag) => (Flags & flag) != 0;
}
