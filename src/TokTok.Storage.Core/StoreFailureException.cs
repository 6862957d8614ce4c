namespace TokTok.Storage.Core;

/// <summary>A store cannot do what is asked of it, for a reason that lies neither with a disk nor with damaged bytes: too few holders, a failed writer, another commit that came first.</summary>
public abstract class StoreFailureException : Exception
{
    protected StoreFailureException()
    {
    }

    protected StoreFailureException(string message)
        : base(message)
    {
    }

    protected StoreFailureException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
