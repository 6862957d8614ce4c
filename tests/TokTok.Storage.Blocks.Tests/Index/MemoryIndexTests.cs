using TokTok.Storage.Blocks.Index;

namespace TokTok.Storage.Blocks.Tests.Index;

public sealed class MemoryIndexTests : BlockIndexContract
{
    protected override IBlockIndex Index { get; } = new MemoryIndex();
}
