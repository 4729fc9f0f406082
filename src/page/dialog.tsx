/** A dialog over the page. The rest of the page is inert meanwhile: the browser keeps the focus in. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface DialogProps {
  title: string;
  /** What it shows now: when that changes, its heading takes the focus. */
  step?: string;
  /** True: Esc does not close it. */
  isBusy: boolean;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, step = "", isBusy, onClose, children }: DialogProps): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const opened = dialog.current;
    const before = document.activeElement;
    opened?.showModal();
    return () => {
      opened?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  useEffect(() => {
    if (step !== "") heading.current?.focus();
  }, [step]);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        if (!isBusy) onClose();
      }}
      onKeyDown={(event) => {
        if (event.key !== "Escape") return;
        event.preventDefault();
        if (!isBusy) onClose();
      }}
    >
      <header class="dialog-head">
        <h2 id="dialog-title" ref={heading} tabIndex={-1}>
          {title}
        </h2>
        <button type="button" class="quiet" disabled={isBusy} onClick={onClose}>
          Close
        </button>
      </header>
      {children}
    </dialog>
  );
}
