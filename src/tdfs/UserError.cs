namespace TokTok.Storage.Tdfs;

/// <summary>Trouble that its message explains in one line: what was found, what was expected, what to do. It ends the command with its code.</summary>
internal sealed class UserError : Exception
{
    public UserError(ExitCode code, string message)
        : base(message) => Code = code;

    public UserError(ExitCode code, string message, Exception inner)
        : base(message, inner) => Code = code;

    public ExitCode Code { get; }
}
