"""What pages talk to: QtCore objects that know both the engine and the database.

Signals carry the values of `views.py` and its like. A page connects signals to its widgets' setters
and its widgets' signals to these slots, and needs no other knowledge. All on the GUI thread.

EngineController   signals  view_changed(EngineView)  models_changed(list[ModelView])
                            examples_changed(list[ExampleView])  notice(str)
                   slots    start()  load(model_id)  unload()  mend()
                   values   view  models  examples
ChatController     signals  conversations_changed(list[ListRow])
                            conversation_opened(ConversationView)      the page shows this one now
                            messages_replaced(int, list[MessageView])  the branch from that index on
                            queue_changed(list[MessageView])           what waits below the branch
                            message_added(MessageView)  message_changed(MessageView)
                            text_appended(int, str)                    at most 30 a second
                            answer_finished(int, AnswerFacts)  answer_stopped(int)
                            answer_failed(int, str, str)               message id, sentence, detail
                            answer_ended(int, str)                     conversation id, how
                            running_changed(int)                       message id, 0 = none
                            draft_cleared()  draft_replaced(str)  notice(str)
                            context_counted(TokenCountView | None)
                            search_done(str, list[SearchHit])  deleted(DeletedItem)
                            answer_progressed(int, AnswerProgress)     once a second
                            messages_deleted(DeletedMessages)
                            attachments_changed(tuple[Attachment])     of the message being written
                            folder_given(str)                          among the files to attach
                            model_changed(str)
                   slots    new_conversation()  open_conversation(id)  stop()
                            send(text, answer_start)                   with what is attached
                            regenerate(message_id)  edit_message(message_id, text)
                            write_answer(message_id, text, goes_on)
                            delete_message(message_id)  restore_messages(message_id)
                            attach_files(paths)  attach_text(text)  detach(index)
                            set_model(id)  use_preset(Preset)
                            continue_answer(message_id)  show_version(message_id, delta)
                            withdraw_queued(message_id)  set_draft(text)  search(text)
                            rename(id, title)  set_pinned(id, bool)
                            delete_conversation(id)  undo_delete(id)  set_system_prompt(text)
                            set_sampling(protocol.Sampling | None)     for the answers from now on
                   values   presets: save, rename, delete; changed(list[Preset]), deleted(Preset)

A message's text so far is in MessageView.text when it is added, replaced or opened; text_appended
follows from there. Ids of messages that are not on show may come too: ignore them.
"""
