namespace TokTok.Storage.Core;

/// <summary>Those bytes of one block that lie in the store as they are, not packed with others: a part of them can be fetched without the rest.</summary>
/// <remarks>
/// What is fetched is decrypted and not checked, as neither a score nor a package's tag says anything of a part: whoever fetches holds a hash of what it must be, taken when the block was read as a whole and
/// checked against its score. So a reader still gets the bytes that were written or an error: what does not match is fetched no more, and the block read as a whole, checked and mended.
/// Safe from many threads. Good for as long as the store is open; the block may move or go meanwhile, and then nothing can be fetched.
/// </remarks>
public interface IBlockParts
{
    /// <summary>Whether the bytes from an offset on can be fetched; up to <paramref name="end"/> all are alike in that.</summary>
    bool Has(int offset, out int end);

    /// <summary>Fetches without a check. False: it cannot be had any more, and the target is unspecified.</summary>
    ValueTask<bool> TryFetchAsync(int offset, Memory<byte> target, CancellationToken cancel);
}
